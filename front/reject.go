package front

// rejected counts and logs a sealed token that is not one its bearer may use; what was wrong with it is told to nobody.
func (v *visit) rejected(kind string) {
	v.h.o.Metrics.TokenRejected(kind)
	v.h.o.Log.Info("token rejected", "kind", kind, "principal", v.x.Who(), "endpoint", v.x.Endpoint)
}
