//! The durable journal of requests and replies.
