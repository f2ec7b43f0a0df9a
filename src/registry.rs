//! The daemon that tracks live peers and assigns zones. It never sees a file name, a query or a file.

pub mod state;
