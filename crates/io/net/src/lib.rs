//! TLS, DNS, SSH, HTTP lanes, sockets: every system call that is not storage
