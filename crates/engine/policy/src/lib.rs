//! Admission, credential cache, session tokens, allow list, search rules
