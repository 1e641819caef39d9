// Package audit says what happened: one record per call and per decision, in a log that shows tampering.
//
//	Write ─► encode (each caller for itself) ─► one of those who wait writes for all ─► file
//	                                                                                     │ chained, signed now and then
//	                 stdout, OTLP, syslog, webhook, databases ◄── followers, each from its own place ◄┘
//
// The log is a file of JSON lines in the form of the Open Cybersecurity Schema Framework (OCSF). Each has a sequence number and a
// SHA-256 over what it says and the hash of the line before. Signed checkpoints stand between them, and a signed head beside the
// file says how far the log went at least, so that lines that are missing at its end are missed.
//
// Write returns once the line is with the operating system: what was answered is on record, also when the gateway is killed right
// then. All other sinks read the file, at their own pace, from where they were.
package audit
