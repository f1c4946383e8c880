//! Both nodes in one thread, under a virtual clock.
