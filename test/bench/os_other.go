//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

var errNoProc = errors.New("CPU and memory of processes are read on Linux only")

func cpus() (gateway, load int, ok bool) { return -1, -1, false }

func startPinned(cmd *exec.Cmd, _ int) error { return cmd.Start() }

func pinSelf(int) {}

func cpuTime(int) (time.Duration, error) { return 0, errNoProc }

func children(int) []int { return nil }

func programOf(int) string { return "" }

func machineTime() (time.Duration, error) { return 0, errNoProc }

func resident(int) (int64, error) { return 0, errNoProc }

func openFiles() uint64 { return 0 }
