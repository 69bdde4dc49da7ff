//! Chat-completion clients over HTTP, and the one owner of a socket.
