//! A second factor, from its secret and its codes to the token that says who has shown one.
//! Keeps nothing and asks nobody: rows are `store`'s, answers `management`'s.

pub mod attempts;
pub mod backup;
pub mod code;
pub mod enrolment;
pub mod token;
pub mod totp;
pub mod turns;
