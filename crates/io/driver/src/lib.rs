//! Event loops: signalling, media workers, HTTP, XMPP, links, shutdown
