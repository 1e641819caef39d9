package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// UntilSignal is the context of a program, which ends with the first SIGINT or SIGTERM. The second ends a program that takes too
// long to end by itself.
func UntilSignal() context.Context {
	inherited := signal.Ignored(os.Interrupt) // shells have it so for what they start in the background
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		if !inherited {
			stop()
			return
		}
		again := make(chan os.Signal, 1) // what was ignored would be ignored again
		signal.Notify(again, os.Interrupt)
		stop()
		<-again
		os.Exit(ExitInterrupted)
	})
	return ctx
}
