//! The one binary of integration tests.
mod concurrency;
mod conversation;
mod differential;
mod layers;
mod notation;
mod oracle;
mod ours;
mod player;
mod redis_rs;
mod rim;
mod splits;
mod stream;
mod table;
mod transcript;
mod transcripts;
mod wire;
