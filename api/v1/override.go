package v1

import (
	"reflect"
	"strings"
)

// override applies the environment variables that stand for scalar keys.
func (d *decoder) override(c *Config) {
	d.overrideStruct(reflect.ValueOf(c).Elem(), "")
}

func (d *decoder) overrideStruct(v reflect.Value, path string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		child := childPath(path, jsonName(f))
		if v.Field(i).Kind() == reflect.Struct {
			d.overrideStruct(v.Field(i), child)
			continue
		}
		for name := range strings.SplitSeq(f.Tag.Get("env"), ",") {
			value, _ := d.opts.Env(name)
			if name == "" || value == "" {
				continue
			}
			d.origins[child] = name
			if err := setText(v.Field(i), value); err != nil {
				d.fail(0, child, "%q %v (set by %s)", clip(value), err, name)
			}
			break // the first name wins
		}
	}
}
