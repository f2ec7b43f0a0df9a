//! Replies of a hostile peer to an honest one: what the honest one shows is checked and escaped, what it takes is bounded, and
//! each of its commands ends.
