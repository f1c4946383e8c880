//! The edge–core link: hello, authentication, keep-alive, clock skew, lanes
