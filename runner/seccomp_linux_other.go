//go:build linux && !amd64 && !arm64

package runner

const auditArch, foreignCalls = 0, 0x40000000
