//! Logs: where they go and how they look.
