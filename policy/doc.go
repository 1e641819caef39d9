// Package policy decides what callers may do: one function, [View.May], for lists, discovery, completion, reads,
// subscriptions and calls alike.
//
//	configuration ─► Compile ─► Set: roles, bindings, Cedar policies     one per plan, never changes
//	principal ─────► Set.View ─► View: what of the Set concerns it       shared by all who have the same rights
//	tool ──────────► View.May ─► Decision                                a lookup, unless arguments or the time decide
//
// Roles and bindings are a short form of Cedar policies and decided without Cedar, by an index; [Set.Cedar] shows the
// policies that they stand for. Forbid wins over permit, and what nothing permits is denied.
package policy
