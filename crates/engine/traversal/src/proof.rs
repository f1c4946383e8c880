//! Proof that both sides know the zone's password, bound to the TLS connection.
//!
//! HMAC-SHA256 under the password over a role label, the other side's nonce and the connection's
//! exported secret (RFC 8446 §7.5): worthless on any other connection, and useless to a peer that
//! relays it.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The secret both ends of a TLS connection share and nobody else has.
pub type Exported = [u8; 32];

/// The core's proof, in hexadecimal.
pub fn core(password: &[u8], user: &str, edge_nonce: &str, exported: &Exported) -> String {
    make(b"causeway core", password, user, edge_nonce, exported)
}

/// The edge's proof, in hexadecimal.
pub fn edge(password: &[u8], user: &str, core_nonce: &str, exported: &Exported) -> String {
    make(b"causeway edge", password, user, core_nonce, exported)
}

/// Compares two proofs without telling where they differ.
pub fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn make(label: &[u8], password: &[u8], user: &str, nonce: &str, exported: &Exported) -> String {
    // HMAC takes keys of any length, so this cannot fail; an empty tag would match nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(password) else {
        return String::new();
    };
    for part in [label, user.as_bytes(), nonce.as_bytes(), exported] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_role_connection_and_nonce_only() {
        let p = core(b"pw", "traversal", "n1", &[1; 32]);
        assert!(same(&p, &core(b"pw", "traversal", "n1", &[1; 32])));
        for other in [
            core(b"px", "traversal", "n1", &[1; 32]),
            core(b"pw", "traversa", "ln1", &[1; 32]),
            core(b"pw", "traversal", "n2", &[1; 32]),
            core(b"pw", "traversal", "n1", &[2; 32]),
            edge(b"pw", "traversal", "n1", &[1; 32]),
            String::new(),
        ] {
            assert!(!same(&p, &other));
        }
    }
}
