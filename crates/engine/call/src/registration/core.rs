//! The core's half of registration.
//!
//! In: REGISTERs that an edge passed on, the answers of call control, and requests from inside
//! for those who registered. Out: the same messages as the other side gets them, and who is
//! registered where ([`Registrar`]). Who may register is decided by [`Admission`].
//!
//! - *Rewrite* (`protocol.md` 5.3): the Contact's host becomes the core's, the client's own
//!   address stays as `orig-hostport`, and `+u.sip!userid.ccm.cisco.com` names the user.
//! - *Path* (RFC 3327): the Contact stays, and the core's Path stands in place of the edge's.
//!
//! Either way what call control keeps carries a token under a MAC, so that a request finds its
//! registration, and its client even after a restart of the core, and nobody else can name it. It
//! opens no connection and routes nothing. Bounds: [`BINDINGS_MAX`] contacts, [`USER_BINDINGS_MAX`]
//! of one user.

mod admission;
mod leave;
mod rewrite;
mod table;
mod ticket;

pub use admission::{Admission, Admitted, Denied, Numbers, Unfit, is_line, may_register};
pub use rewrite::{Address, alias_of, aor_of, same_aor};
pub use table::{
    BINDINGS_MAX, Binding, Change, Draft, Place, Registrar, RegistrationId, USER_BINDINGS_MAX,
};
pub use ticket::{DialogMark, End};
