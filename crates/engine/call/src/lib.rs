//! SIP transaction users: registration relay, B2BUA, call records
