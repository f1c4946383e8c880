//! Who signs in, as far as a client's own words tell. For the list of sessions and for counting
//! failures; nothing is granted on these grounds.

use base::{Pii, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest name taken, in bytes (RFC 6122 §2.1: local part, `@`, domain).
const NAME_BYTES_MAX: usize = 2047;

/// The user in the first message of a mechanism, in base64.
pub(crate) fn user(mechanism: &str, message: &str) -> Option<Pii<String>> {
    let message = Secret::new(STANDARD.decode(message.trim()).ok()?);
    let text = std::str::from_utf8(message.expose()).ok()?;
    let name = match mechanism {
        // RFC 4616: authorization identity, user, password.
        "PLAIN" => text.split('\0').nth(1)?.to_owned(),
        // RFC 5802 §5: `n,a=authzid,n=user,r=nonce`.
        scram if scram.starts_with("SCRAM-") => {
            let name = text
                .split(',')
                .skip(2)
                .find_map(|part| part.strip_prefix("n="))?;
            name.replace("=2C", ",").replace("=3D", "=")
        }
        // `userid=alice@example.com\0token=…`
        "CISCO-VTG-TOKEN" => text
            .split('\0')
            .find_map(|part| part.strip_prefix("userid="))?
            .to_owned(),
        _ => return None,
    };
    let fine = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
    fine.then(|| Pii::new(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_read_and_the_password_is_not() {
        let read = |mechanism: &str, message: &str| {
            user(mechanism, &STANDARD.encode(message)).map(Pii::into_inner)
        };
        assert_eq!(read("PLAIN", "\0alice\0secret").as_deref(), Some("alice"));
        assert_eq!(
            read("PLAIN", "a@b\0alice\0secret").as_deref(),
            Some("alice")
        );
        assert_eq!(
            read("SCRAM-SHA-1", "n,,n=al=2Cice=3D,r=abc").as_deref(),
            Some("al,ice=")
        );
        assert_eq!(
            read("CISCO-VTG-TOKEN", "userid=alice@example.test\0token=x").as_deref(),
            Some("alice@example.test")
        );
        for (mechanism, message) in [
            ("PLAIN", "alice"),
            ("PLAIN", "\0\0x"),
            ("SCRAM-SHA-1", "n"),
            ("EXTERNAL", "alice"),
        ] {
            assert_eq!(read(mechanism, message), None, "{mechanism}");
        }
        assert!(user("PLAIN", "=").is_none());
    }
}
