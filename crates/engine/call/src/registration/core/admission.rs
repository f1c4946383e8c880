//! Who a digest proves to be there, and what he may register.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use base::{FixedState, HashSet, Instant, Now, UnixTime};
use policy::credentials::{Credentials, Known};
use sip::digest::Algorithm;
use sip::{Message, Name, Uri};

/// Answers remembered at once; beyond it the oldest are forgotten.
const SEEN_MAX: usize = 200_000;

/// How far an edge's clock may be ahead of ours.
const AHEAD_MAX: Duration = Duration::from_secs(30);

/// Whom a digest proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The user name of the digest.
    pub user: String,
    /// The domain whose user it is; empty for one of any, as in the credentials file.
    pub domain: String,
    /// The name as the directory keeps it.
    pub account: String,
    /// User parts he may register; empty if none are known.
    pub lines: Vec<String>,
    /// Names of his devices; empty if none are known.
    pub devices: Vec<String>,
    /// The number of the header field that proved it, which is not for call control.
    pub field: usize,
}

/// Why a digest proves nothing. The client learns none of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No field answers a challenge of the realm.
    #[error("no credentials for the realm")]
    Missing,
    /// The nonce is too old, of the future, from before this node began, or none.
    #[error("the nonce is not fresh by this node's clock")]
    Stale,
    /// The same answer has been here.
    #[error("the same answer was given before")]
    Replayed,
    /// Nobody of this name is kept.
    #[error("the user has not signed in, or is not in the credentials file")]
    Unknown,
    /// The digest is wrong.
    #[error("the password is wrong")]
    Wrong,
}

/// Checks digests; remembers each answer while its nonce is fresh.
///
/// What it remembers ends with the process, but the answers it had seen are good for a while. So
/// no answer is taken whose nonce is from before: not if it was made before the edge linked up
/// with this process (`since`, by the edge's own clock, so that clocks which differ do no harm),
/// and not if it was made before the process began, less the tolerated skew (for an edge that
/// lies about its clock). A client that is asked again answers again, without its user.
pub struct Admission {
    began: UnixTime,
    seen: HashSet<u64>,
    order: VecDeque<(Instant, u64)>,
}

impl Admission {
    /// Digests that are remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Remembers nothing yet.
    pub fn new(now: Now) -> Self {
        Admission {
            began: now.unix,
            seen: HashSet::default(),
            order: VecDeque::new(),
        }
    }

    /// Checks the answer to a challenge of `realm` in the field called `name`. `since` is what the
    /// edge's clock showed when it first linked up with this process.
    ///
    /// # Errors
    /// [`Denied`]; unknown users cost as much time as known ones.
    pub fn check(
        &mut self,
        now: Now,
        kept: &Credentials,
        message: &Message,
        name: Name,
        (realm, since): (&str, UnixTime),
    ) -> Result<Admitted, Denied> {
        let (field, found) =
            super::super::credentials(message, name, realm).ok_or(Denied::Missing)?;
        let issued = sip::nonce::issued(found.nonce).ok_or(Denied::Stale)?;
        let age_ms = now.unix.skew_ms(issued);
        let life = sip::nonce::LIFE.as_millis() as i64;
        let ahead = AHEAD_MAX.as_millis() as i64;
        if !(-ahead..=life + ahead).contains(&age_ms) {
            return Err(Denied::Stale);
        }
        if issued < since || self.began.skew_ms(issued) > ahead {
            return Err(Denied::Stale);
        }
        let user = String::from_utf8_lossy(found.username).into_owned();
        let at = message.to().ok().and_then(|to| Uri::parse(to.uri).ok());
        let at = at.map(|uri| uri.host.to_string().to_ascii_lowercase());
        let known = kept.known(now.instant, &user, realm, &at.unwrap_or_default());
        let algorithm = found.algorithm;
        let ha1 = |known: &Known| match algorithm {
            Algorithm::Md5 => known.ha1.md5.clone(),
            Algorithm::Sha256 => known.ha1.sha256.clone(),
        };
        let verify = |ha1: &str| sip::digest::verify(&found, message.method_bytes(), ha1);
        if known.is_empty() {
            // It takes as long as for somebody.
            verify(algorithm.nobody());
            return Err(Denied::Unknown);
        }
        // A digest that was made for another resource is as good as a wrong one.
        let covers = sip::digest::covers(found.uri, message.request_uri());
        let mut known = known.into_iter();
        let proven = known.find(|known| verify(ha1(known).expose()) & covers);
        let Some(known) = proven else {
            return Err(Denied::Wrong);
        };
        if !self.first_time(now.instant, found.nonce, found.qop) {
            return Err(Denied::Replayed);
        }
        Ok(Admitted {
            user,
            domain: known.domain,
            account: known.account,
            lines: known.lines,
            devices: known.devices,
            field,
        })
    }

    /// Takes each pair of nonce and count once.
    fn first_time(&mut self, now: Instant, nonce: &[u8], qop: Option<(&[u8], &[u8])>) -> bool {
        let mut hasher = FixedState::default().build_hasher();
        nonce.hash(&mut hasher);
        qop.map(|(_, count)| count).hash(&mut hasher);
        let key = hasher.finish();
        let keep = sip::nonce::LIFE + AHEAD_MAX * 2;
        while self
            .order
            .front()
            .is_some_and(|(since, _)| now.since(*since) > keep)
            || self.order.len() >= SEEN_MAX
        {
            if let Some((_, old)) = self.order.pop_front() {
                base::tighten(&mut self.order);
                self.seen.remove(&old);
            }
        }
        let fresh = self.seen.insert(key);
        if fresh {
            self.order.push_back((now, key));
        }
        fresh
    }
}

/// Why a user may not register what he asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The address of record is neither his name nor one of his lines.
    #[error("the address of record is neither the user's name nor one of the user's lines")]
    Line,
    /// The device is not one of his.
    #[error("the device is not one of the user's")]
    Device,
}

/// What tells which extension a number has: directories keep 1001 as `+49 30 555-1001`.
///
/// The end of a number is no extension by itself: that of one user's would be the line of another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers<'n> {
    /// Call control decides which line a device has, and refuses the lines of others' devices
    /// (Unified CM).
    pub decided: bool,
    /// Numbers begin with one of these, in digits; what follows is the extension
    /// (`extensions_of` of the domain).
    pub prefixes: &'n [String],
}

impl Numbers<'_> {
    /// Of call control that decides.
    pub const DECIDED: Numbers<'static> = Numbers {
        decided: true,
        prefixes: &[],
    };
}

/// Whether a user may register an address of record with this user part on this device (empty
/// where the contact names none).
///
/// A user is himself and his lines. Where call control decides which line a device has (Unified
/// CM), a device must be his, for whoever registers it gets its lines; so with his device the end
/// of a number of his is enough, and where none of his lines is known, the device alone. A user of
/// the credentials file has his devices among his lines.
///
/// # Errors
/// [`Unfit`].
pub fn may_register(
    who: &Admitted,
    aor_user: &[u8],
    device: &[u8],
    numbers: Numbers<'_>,
) -> Result<(), Unfit> {
    let mut devices = who.devices.iter().chain(&who.lines);
    let own_device = devices.any(|name| name.as_bytes().eq_ignore_ascii_case(device));
    let unknown = who.devices.is_empty() && !numbers.decided;
    if !device.is_empty() && !own_device && !unknown {
        return Err(Unfit::Device);
    }
    let wanted = sip::unescape(aor_user);
    let is = |name: &str| name.as_bytes().eq_ignore_ascii_case(&wanted);
    // `alice@example.test` signs in, `sip:alice@…` registers.
    let local = who.user.split('@').next().unwrap_or(&who.user);
    let decided = numbers.decided && !device.is_empty();
    let numbers = Numbers { decided, ..numbers };
    let own = is_line(&wanted, who.lines.iter().map(String::as_str), numbers);
    let named = is(&who.user) || is(local) || own;
    let by_device = decided && who.lines.is_empty();
    if named || by_device {
        Ok(())
    } else {
        Err(Unfit::Line)
    }
}

/// Whether a user part, escapes undone, is one of these lines.
pub fn is_line<'l>(
    wanted: &[u8],
    mut lines: impl Iterator<Item = &'l str>,
    numbers: Numbers<'_>,
) -> bool {
    lines.any(|l| l.as_bytes().eq_ignore_ascii_case(wanted) || is_extension(wanted, l, numbers))
}

/// Whether digits are a number, or its extension.
fn is_extension(wanted: &[u8], number: &str, numbers: Numbers<'_>) -> bool {
    let wanted = wanted.strip_prefix(b"+").unwrap_or(wanted);
    if !number.starts_with('+') || wanted.is_empty() || !wanted.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digits: Vec<u8> = number.bytes().filter(u8::is_ascii_digit).collect();
    let mut prefixes = numbers.prefixes.iter();
    digits == wanted
        || numbers.decided && wanted.len() >= 3 && digits.ends_with(wanted)
        || prefixes.any(|p| digits.strip_prefix(p.as_bytes()) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use base::{Rng, Secret};
    use bytes::Bytes;
    use policy::credentials::SignedIn;
    use sip::digest::Challenge;
    use sip::nonce::NonceKey;

    use super::*;

    const REALM: &str = "example.test";

    /// An edge that linked up when the world began.
    const HERE: (&str, UnixTime) = (REALM, UnixTime::from_millis(0));

    fn kept() -> Credentials {
        let hour = Duration::from_secs(3600);
        let mut kept = Credentials::new(&mut Rng::from_number(1), hour, hour);
        let signed_in = SignedIn {
            domain: "example.test",
            user: "alice",
            account: "alice",
            password: &Secret::new("pw".into()),
            realms: &[REALM.into()],
            lines: vec!["1001".into()],
            devices: vec!["CSFALICE".into()],
        };
        kept.keep(now(), signed_in).unwrap();
        kept
    }

    fn register(user: &str, password: &str, nonce: &str, count: u32) -> Message {
        let challenge = Challenge::new(REALM, nonce, Algorithm::Sha256, false);
        let answer = sip::digest::respond(
            &challenge,
            user,
            password,
            "REGISTER",
            "sip:example.test",
            "cn",
            count,
        );
        let text = format!(
            "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
             From: <sip:1001@example.test>;tag=a\r\nTo: <sip:1001@example.test>\r\n\
             Call-ID: c1\r\nCSeq: 1 REGISTER\r\nAuthorization: {answer}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &sip::Limits::trusted()).unwrap()
    }

    fn now() -> Now {
        Now {
            instant: Instant::ZERO,
            unix: UnixTime::from_millis(1_000_000_000),
        }
    }

    #[test]
    fn the_right_password_counts_once_and_the_wrong_user_is_as_wrong_as_the_wrong_password() {
        let nonces = NonceKey::new(&mut Rng::from_number(2));
        let nonce = nonces.issue(now(), REALM.as_bytes());
        let (mut admission, kept) = (Admission::new(now()), kept());
        let mut check =
            |at: Now, m: &Message| admission.check(at, &kept, m, Name::Authorization, HERE);
        let good = register("alice", "pw", &nonce, 1);
        let admitted = check(now(), &good).unwrap();
        assert_eq!((admitted.user.as_str(), admitted.lines.len()), ("alice", 1));
        assert_eq!(check(now(), &good), Err(Denied::Replayed));
        assert!(check(now(), &register("alice", "pw", &nonce, 2)).is_ok());
        assert_eq!(
            check(now(), &register("alice", "px", &nonce, 3)),
            Err(Denied::Wrong)
        );
        assert_eq!(
            check(now(), &register("mallory", "pw", &nonce, 4)),
            Err(Denied::Unknown)
        );
        assert_eq!(
            check(now(), &register("alice", "pw", "AAAA", 5)),
            Err(Denied::Stale)
        );
        let late = now().plus(Duration::from_secs(331));
        assert_eq!(
            check(late, &register("alice", "pw", &nonce, 6)),
            Err(Denied::Stale)
        );
    }

    #[test]
    fn an_answer_from_the_future_is_stale() {
        let nonces = NonceKey::new(&mut Rng::from_number(2));
        let nonce = nonces.issue(now().plus(Duration::from_secs(60)), REALM.as_bytes());
        let checked = Admission::new(now()).check(
            now(),
            &kept(),
            &register("alice", "pw", &nonce, 1),
            Name::Authorization,
            HERE,
        );
        assert_eq!(checked, Err(Denied::Stale));
    }

    #[test]
    fn an_answer_that_an_earlier_process_may_have_seen_is_stale_and_a_fresh_one_is_not() {
        let nonces = NonceKey::new(&mut Rng::from_number(2));
        let at = |seconds| now().plus(Duration::from_secs(seconds));
        let nonce = |seconds| nonces.issue(at(seconds), REALM.as_bytes());
        let (old, older, new) = (nonce(90), nonce(60), nonce(102));
        // The process begins at 100; the edge's clock is 12 s behind and shows 91 when it links.
        let check = |edge: u64, nonce: &str| {
            let since = at(edge).unix;
            let answer = register("alice", "pw", nonce, 1);
            Admission::new(at(100)).check(
                at(105),
                &kept(),
                &answer,
                Name::Authorization,
                (REALM, since),
            )
        };
        assert_eq!(check(91, &old), Err(Denied::Stale));
        assert!(check(91, &new).is_ok());
        assert!(check(90, &old).is_ok(), "made as the link came up");
        // An edge that lies about its clock wins no more than the tolerated skew.
        assert_eq!(check(0, &older), Err(Denied::Stale));
    }

    fn admitted(user: &str, lines: &[&str], devices: &[&str]) -> Admitted {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Admitted {
            domain: String::new(),
            account: user.into(),
            user: user.into(),
            lines: owned(lines),
            devices: owned(devices),
            field: 0,
        }
    }

    const OPEN: Numbers<'static> = Numbers {
        decided: false,
        prefixes: &[],
    };

    const BOTH: [Numbers<'static>; 2] = [OPEN, Numbers::DECIDED];

    #[test]
    fn a_user_registers_himself_and_his_lines() {
        let alice = admitted("alice", &["1001", "+49 30 555-2002"], &["CSFALICE"]);
        for numbers in BOTH {
            let may = |aor: &[u8]| may_register(&alice, aor, b"csfalice", numbers).is_ok();
            assert!(may(b"1001") && may(b"%61lice") && may(b"+49305552002"));
            assert_eq!(may(b"2002"), numbers.decided);
            assert!(!may(b"02") && !may(b"3003") && !may(b"CSFALICE"));
        }
        let elsewhere = admitted("alice@example.test", &[], &[]);
        assert!(may_register(&elsewhere, b"alice", b"", OPEN).is_ok());
    }

    #[test]
    fn the_end_of_a_users_number_is_no_line_of_his_where_nobody_decides_it() {
        let mallory = admitted("1010", &["+49 30 5551002"], &[]);
        for aor in [&b"1002"[..], b"002", b"112", b"51002", b"+1002"] {
            assert_eq!(may_register(&mallory, aor, b"", OPEN), Err(Unfit::Line));
            // Unified CM is asked with his device only; in his name alone he is nobody else.
            let decided = may_register(&mallory, aor, b"", Numbers::DECIDED);
            assert_eq!(decided, Err(Unfit::Line));
        }
        let helpdesk = admitted("1010", &["+49 30 555112"], &[]);
        assert!(may_register(&helpdesk, b"112", b"", OPEN).is_err());
        // Unless the domain says what its numbers begin with.
        let prefixes = ["4930555".to_owned()];
        let ours = Numbers {
            prefixes: &prefixes,
            ..OPEN
        };
        let may = |aor: &[u8]| may_register(&mallory, aor, b"", ours).is_ok();
        assert!(may(b"1002") && !may(b"002") && !may(b"51002"));
        let abroad = admitted("1010", &["+1 212 1002"], &[]);
        assert!(may_register(&abroad, b"1002", b"", ours).is_err());
    }

    #[test]
    fn a_user_registers_his_own_devices_only() {
        let alice = admitted("alice", &["1001"], &["CSFALICE"]);
        for numbers in BOTH {
            let may = |device: &[u8]| may_register(&alice, b"1001", device, numbers);
            assert_eq!((may(b"csfalice"), may(b"")), (Ok(()), Ok(())));
            assert_eq!(may(b"CSFBOB"), Err(Unfit::Device));
        }
        let unknown = admitted("alice", &["1001"], &[]);
        let may = |numbers| may_register(&unknown, b"1001", b"CSFBOB", numbers);
        assert_eq!(BOTH.map(may), [Ok(()), Err(Unfit::Device)]);
        let of_file = admitted("alice", &["1001", "SEPA11CE"], &[]);
        assert_eq!(
            may_register(&of_file, b"1001", b"SEPA11CE", Numbers::DECIDED),
            Ok(())
        );
    }

    #[test]
    fn unknown_lines_mean_the_users_name_and_what_his_device_has_at_unified_cm() {
        let alice = admitted("alice", &[], &["CSFALICE"]);
        let may = |aor: &[u8], device: &[u8], numbers| may_register(&alice, aor, device, numbers);
        assert_eq!(may(b"1002", b"CSFALICE", Numbers::DECIDED), Ok(()));
        assert_eq!(may(b"1002", b"CSFALICE", OPEN), Err(Unfit::Line));
        assert_eq!(may(b"1002", b"", Numbers::DECIDED), Err(Unfit::Line));
        assert_eq!(
            may(b"1002", b"CSFBOB", Numbers::DECIDED),
            Err(Unfit::Device)
        );
        assert_eq!(may(b"alice", b"", Numbers::DECIDED), Ok(()));
        let nobody = admitted("alice", &[], &[]);
        assert_eq!(
            may_register(&nobody, b"1002", b"", Numbers::DECIDED),
            Err(Unfit::Line)
        );
    }
}
