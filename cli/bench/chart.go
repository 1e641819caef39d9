package bench

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// frame is where in a chart the lines are.
type frame struct{ Left, Right, Top, Bottom, TextX, TextY float64 }

var chartFrame = frame{Left: 60, Right: 530, Top: 12, Bottom: 230, TextX: 54, TextY: 248}

const (
	chartWidth  = 560
	chartHeight = 256
)

// chart is an SVG picture of lines.
type chart struct {
	Title, Label  string
	Width, Height int
	X, Y          []tick
	Lines         []line
}

// tick is a value with a line across the chart.
type tick struct {
	At   float64
	Text string
}

// line is values that belong together.
type line struct {
	Name, Class string
	Path        string
	Dots        []dot

	x, y []float64
}

// dot tells a value where the pointer is.
type dot struct {
	X, Y float64
	Text string
}

func (l *line) add(x, y float64, text string) {
	l.x, l.y = append(l.x, x), append(l.y, y)
	l.Dots = append(l.Dots, dot{Text: text})
}

// scale places values of an axis between 0 and 1, and has some of them shown.
type scale struct {
	place func(float64) float64
	ticks []float64
	text  func(float64) string
}

// newChart lays the lines out. fit makes the scale of their values.
func newChart(title string, x scale, text func(float64) string, fit func([]line) scale, lines ...line) chart {
	y := fit(lines)
	c := chart{Title: title, Width: chartWidth, Height: chartHeight, Lines: lines, Label: title}
	f := chartFrame
	across := func(v float64) float64 { return tenths(f.Left + x.place(v)*(f.Right-f.Left)) }
	up := func(v float64) float64 { return tenths(f.Bottom - y.place(v)*(f.Bottom-f.Top)) }
	for _, v := range x.ticks {
		c.X = append(c.X, tick{across(v), x.text(v)})
	}
	for _, v := range y.ticks {
		c.Y = append(c.Y, tick{up(v), text(v)})
	}
	for i := range lines {
		l := &lines[i]
		var path strings.Builder
		for j := range l.x {
			l.Dots[j].X, l.Dots[j].Y = across(l.x[j]), up(l.y[j])
			fmt.Fprintf(&path, "%c%s %s", "ML"[min(j, 1)], coordinate(l.Dots[j].X), coordinate(l.Dots[j].Y))
		}
		l.Path = path.String()
		if n := len(l.y); n > 0 {
			c.Label += fmt.Sprintf("; %s from %s to %s, at the end %s", l.Name, text(least(l.y)), text(greatest(lines[i:i+1])), text(l.y[n-1]))
		}
	}
	return c
}

func tenths(v float64) float64 { return math.Round(v*10) / 10 }

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func greatest(lines []line) float64 {
	most := 0.0
	for i := range lines {
		for _, v := range lines[i].y {
			most = max(most, v)
		}
	}
	return most
}

func least(values []float64) float64 {
	v := values[0]
	for _, other := range values {
		v = min(v, other)
	}
	return v
}

// linearScale reaches from 0 to a round number above all values.
func linearScale(lines []line) scale {
	step := roundStep(max(greatest(lines), 1) / 4)
	top := step * math.Ceil(max(greatest(lines), 1)/step)
	s := scale{place: func(v float64) float64 { return v / top }}
	for i := 0.0; i*step <= top*1.0001; i++ {
		s.ticks = append(s.ticks, i*step)
	}
	return s
}

// roundStep is 1, 2 or 5 times a power of ten, and not less than v.
func roundStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, by := range []float64{1, 2, 5} {
		if by*power >= v*0.9999 {
			return by * power
		}
	}
	return 10 * power
}

// logScale has a line for each power of ten, so that a stall does not flatten all else.
func logScale(lines []line) scale {
	low, high := math.Inf(1), 0.001
	for i := range lines {
		for _, v := range lines[i].y {
			low, high = min(low, max(v, 0.001)), max(high, v)
		}
	}
	from := math.Floor(math.Log10(min(low, high)))
	to := max(math.Ceil(math.Log10(high)), from+1)
	s := scale{place: func(v float64) float64 { return (math.Log10(max(v, 0.001)) - from) / (to - from) }}
	for e := from; e <= to; e++ {
		s.ticks = append(s.ticks, math.Pow(10, e))
	}
	return s
}

// timeScale is the seconds of the load.
func timeScale(slots []Slot) scale {
	end := 1.0
	if n := len(slots); n > 1 {
		end = slots[n-1].At
	}
	step := roundStep(end / 6)
	s := scale{place: func(v float64) float64 { return v / end }, text: seconds}
	for i := 0.0; i*step <= end*1.0001; i++ {
		s.ticks = append(s.ticks, i*step)
	}
	return s
}

// percentileScale gives each nine as much room as the one before.
func percentileScale(curve []Point) scale {
	last := 90.0
	if n := len(curve); n > 0 {
		last = max(last, curve[n-1].Percentile)
	}
	nines := func(v float64) float64 { return -math.Log10(1 - min(v, 99.999999)/100) }
	s := scale{place: func(v float64) float64 { return nines(v) / nines(last) }, text: func(v float64) string { return number6(v) + " %" }}
	for _, v := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999} {
		if v <= last {
			s.ticks = append(s.ticks, v)
		}
	}
	return s
}

func number6(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
