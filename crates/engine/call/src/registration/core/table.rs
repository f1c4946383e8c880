//! Who is registered: one row for each contact, by token, by flow, by contact.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use base::{FixedState, HashMap, Id, Instant, Now, Pii, Rng, Secret, Slab, TimerId, Timers};

use sip::Message;

use super::super::Turn;
use super::rewrite::alias_of;
use super::ticket::{DialogMark, End, Ticket, Tickets};

/// Contacts at once.
pub const BINDINGS_MAX: usize = 100_000;

/// Contacts of one user at once.
pub const USER_BINDINGS_MAX: usize = 20;

/// How long a row lives whose REGISTER has no answer yet.
const DRAFT_LIFE: Duration = Duration::from_secs(60);

/// How long a row outlives its registration: call control's clock starts later than ours.
const LINGER: Duration = Duration::from_secs(10);

/// The longest registration, in seconds: a week.
const EXPIRES_MAX_S: u32 = 604_800;

/// Names a registered contact.
pub type RegistrationId = Id;

/// Where a client is: what its edge put into Path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The edge's index among the peers.
    pub peer: usize,
    /// The edge's name for the client's flow.
    pub token: Vec<u8>,
    /// The Path value, as a Route to the client.
    pub path: Vec<u8>,
}

/// What a REGISTER asks to keep.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The user whose digest was right; empty for a contact of an earlier process
    /// ([`Registrar::recover`]), which gives its client no identity.
    pub user: String,
    /// The domain whose own directory knows the user; empty for one of Unified CM, which knows the
    /// users of all its domains, or of the credentials file. The same name in two is two people.
    pub directory: Box<str>,
    /// The address of record as `user@host`.
    pub aor: String,
    /// Where the client is.
    pub place: Place,
    /// The client's contact URI.
    pub contact: Vec<u8>,
    /// `+sip.instance`, which knows a device again when its address changes; empty without.
    pub instance: Vec<u8>,
    /// Tells the flows of a device apart (RFC 5626 §4.2); empty without.
    pub reg_id: String,
    /// Its name of itself.
    pub device: String,
    /// Whether that name alone tells its device from others, at any host of the address of
    /// record: nodes of Unified CM stand in for one another, and have a device once.
    pub one_device: bool,
    /// User parts that it speaks under beside its address of record's.
    pub lines: Box<[Box<str>]>,
    /// The zone towards call control.
    pub zone: Arc<str>,
    /// Whether its Contact is rewritten there.
    pub rewritten: bool,
    /// Whether it is a registration: false for an identity that a digest alone has proved, and for
    /// a contact of an earlier process.
    pub registered: bool,
}

impl Draft {
    /// The address of record as a URI, without parameters.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.aor)
    }

    /// Whether both are of one user, or of none that is known.
    fn is_users(&self, other: &Draft) -> bool {
        self.user == other.user && self.directory == other.directory
    }

    /// Whether two are contacts of one device, on flows of their own perhaps (RFC 5626 §5.3).
    fn is_one_device(&self, other: &Draft) -> bool {
        let line = |aor: &str| aor.split('@').next().unwrap_or_default().to_owned();
        let named = self.one_device && other.one_device && !self.device.is_empty();
        let same_device = if named {
            self.device.eq_ignore_ascii_case(&other.device) && line(&self.aor) == line(&other.aor)
        } else {
            !self.instance.is_empty() && self.instance == other.instance && self.aor == other.aor
        };
        !self.user.is_empty() && self.is_users(other) && same_device
    }

    /// Whether two are one contact. A device that says who it is, is the same wherever it is;
    /// another is its address.
    fn is_one_contact(&self, other: &Draft) -> bool {
        let named = |d: &Draft| d.one_device && !d.device.is_empty() || !d.instance.is_empty();
        if self.user.is_empty() || !named(self) || !named(other) {
            let who = self.is_users(other) && self.aor == other.aor;
            return who && self.instance == other.instance && self.contact == other.contact;
        }
        self.is_one_device(other) && self.reg_id == other.reg_id
    }
}

/// One registered contact.
#[derive(Clone, Debug)]
pub struct Binding {
    /// What it is.
    pub draft: Draft,
    /// Whether call control has accepted it.
    pub confirmed: bool,
    /// Since when.
    pub since: Now,
    /// Until when.
    pub until: Instant,
    timer: TimerId,
    /// The latest REGISTER that was sent on for it.
    turn: Option<Turn>,
}

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    New,
    /// It goes on.
    Refreshed,
    /// It is over.
    Gone {
        /// Who it was.
        user: Pii<String>,
        /// His address of record.
        aor: Pii<String>,
    },
    /// Nothing.
    None,
}

/// All registrations of a core.
pub struct Registrar {
    tickets: Tickets,
    rows: Slab<Binding>,
    /// By hashes of a flow, of an alias and of a user: which rows they are is seen in the rows.
    by_flow: HashMap<u64, Vec<Id>>,
    by_alias: HashMap<u64, Vec<Id>>,
    by_user: HashMap<u64, Vec<Id>>,
    timers: Timers<Id>,
}

impl Registrar {
    /// Nobody is registered. The `secret` makes tokens that outlive the process.
    pub fn new(secret: &Secret<[u8; 32]>, rng: &mut Rng) -> Self {
        Registrar {
            tickets: Tickets::new(secret, rng),
            rows: Slab::new(BINDINGS_MAX),
            by_flow: HashMap::default(),
            by_alias: HashMap::default(),
            by_user: HashMap::default(),
            timers: Timers::default(),
        }
    }

    /// Rows of each table, by name.
    pub fn census(&self) -> [(&'static str, usize); 5] {
        [
            ("bindings", self.rows.len()),
            ("registered flows", self.by_flow.len()),
            ("aliases", self.by_alias.len()),
            ("registered users", self.by_user.len()),
            ("binding timers", self.timers.len()),
        ]
    }

    /// Rows among which a contact is, if it is there: its user's, or those on its flow where an
    /// earlier process knew the user.
    fn neighbours(&self, draft: &Draft) -> &[Id] {
        let rows = match draft.user.as_str() {
            "" => self.by_flow.get(&flow_hash(&draft.place)),
            user => self.by_user.get(&user_hash(user, &draft.directory)),
        };
        rows.map_or(&[], Vec::as_slice)
    }

    /// The row of a contact, if there is one.
    pub fn find(&self, draft: &Draft) -> Option<Id> {
        let is = |id: &&Id| {
            let row = self.rows.get(**id);
            row.is_some_and(|row| row.draft.is_one_contact(draft))
        };
        self.neighbours(draft).iter().find(is).copied()
    }

    /// The row for a contact, made if it is new; `None` if there is no room. It counts only once
    /// call control has accepted it ([`Registrar::confirm`]).
    pub fn open(&mut self, now: Now, draft: &Draft) -> Option<Id> {
        if let Some(id) = self.find(draft) {
            return Some(id);
        }
        if self.rows.is_full() || self.neighbours(draft).len() >= USER_BINDINGS_MAX {
            return None;
        }
        let until = now.instant + DRAFT_LIFE;
        // The slab gives the id that the timer must name: the timer is armed after.
        let placeholder = self.timers.arm(until, Id::new(u32::MAX, u32::MAX));
        let row = Binding {
            draft: draft.clone(),
            confirmed: false,
            since: now,
            until,
            timer: placeholder,
            turn: None,
        };
        let id = self.rows.insert(row).ok();
        self.timers.disarm(placeholder);
        let id = id?;
        self.rearm(id, until);
        self.index(id, draft);
        Some(id)
    }

    /// Whether a REGISTER for a contact that has come before it was sent after it (RFC 3261 §10.3,
    /// step 7).
    pub fn is_overtaken(&self, id: Id, turn: Turn) -> bool {
        let latest = self.rows.get(id).and_then(|row| row.turn);
        latest.is_some_and(|latest| turn.is_before(&latest))
    }

    /// A REGISTER for a contact goes on to call control.
    pub fn takes_turn(&mut self, id: Id, turn: Turn) {
        if let Some(row) = self.rows.get_mut(id) {
            row.turn = Some(turn);
        }
    }

    /// Call control has accepted a contact for `expires_s` seconds; 0 removes it.
    pub fn confirm(&mut self, now: Now, id: Id, draft: Draft, expires_s: u32) -> Change {
        let Some(row) = self.rows.get(id) else {
            return Change::None;
        };
        let (fresh, old) = (!row.confirmed, row.draft.clone());
        if expires_s == 0 {
            return self.remove(id);
        }
        self.unindex(id, &old);
        self.index(id, &draft);
        if draft.registered {
            self.drop_proven(&draft);
        }
        let until = now.instant + Duration::from_secs(expires_s.min(EXPIRES_MAX_S).into());
        if let Some(row) = self.rows.get_mut(id) {
            row.draft = draft;
            row.confirmed = true;
            row.until = until;
            if fresh {
                row.since = now;
            }
        }
        self.rearm(id, until + LINGER);
        if fresh {
            Change::New
        } else {
            Change::Refreshed
        }
    }

    /// Call control has refused a contact: one that was never accepted goes at once.
    pub fn refuse(&mut self, id: Id) {
        if self.rows.get(id).is_some_and(|row| !row.confirmed) {
            self.remove(id);
        }
    }

    /// A registration is over.
    pub fn remove(&mut self, id: Id) -> Change {
        let Some(row) = self.rows.remove(id) else {
            return Change::None;
        };
        self.timers.disarm(row.timer);
        self.unindex(id, &row.draft);
        if !row.confirmed || !row.draft.registered {
            return Change::None;
        }
        self.drop_proven(&row.draft);
        Change::Gone {
            user: Pii::new(row.draft.user),
            aor: Pii::new(row.draft.aor),
        }
    }

    /// The contacts of a user of a [directory](Draft::directory) at an address of record in a zone.
    pub fn of_aor(&self, user: &str, directory: &str, aor: &str, zone: &str) -> Vec<Id> {
        let rows = self.by_user.get(&user_hash(user, directory));
        let rows = rows.into_iter().flatten().copied();
        let of = |id: &Id| {
            let draft = self.rows.get(*id).map(|row| &row.draft);
            draft.is_some_and(|d| {
                let his = d.user == user && *d.directory == *directory;
                his && d.aor == aor && *d.zone == *zone
            })
        };
        rows.filter(of).collect()
    }

    /// The other flows of a contact's device, the one that was heard last first (RFC 5626 §5.3).
    pub fn other_flows(&self, id: Id) -> Vec<Id> {
        let Some(row) = self.rows.get(id) else {
            return Vec::new();
        };
        let mine = &row.draft;
        let rows = self.by_user.get(&user_hash(&mine.user, &mine.directory));
        let rows = rows.into_iter().flatten();
        let rows = rows.filter_map(|id| Some((*id, self.rows.get(*id)?)));
        let mut others: Vec<(Id, &Binding)> = rows
            .filter(|(_, other)| other.confirmed && other.draft.registered)
            .filter(|(_, other)| other.draft.place != mine.place)
            .filter(|(_, other)| mine.is_one_device(&other.draft))
            .collect();
        others.sort_by_key(|(_, other)| std::cmp::Reverse(other.until));
        others.into_iter().map(|(id, _)| id).collect()
    }

    /// All contacts that a peer's edge process brought; its flow tokens died with it.
    pub fn of_peer(&self, peer: usize) -> Vec<Id> {
        let of = |(id, row): (Id, &Binding)| (row.draft.place.peer == peer).then_some(id);
        self.rows.iter().filter_map(of).collect()
    }

    /// Accepted contacts on a client's flow.
    pub fn on_flow(&self, peer: usize, token: &[u8]) -> impl Iterator<Item = (Id, &Binding)> {
        let ids = self.by_flow.get(&hash_of(&(peer, token)));
        let token = token.to_vec();
        ids.into_iter()
            .flatten()
            .filter_map(|id| Some((*id, self.rows.get(*id)?)))
            .filter(move |(_, row)| {
                let place = &row.draft.place;
                row.confirmed && place.peer == peer && place.token == token
            })
    }

    /// The contact a token of this process names, wherever its client has moved since.
    pub fn open_token(&self, token: &[u8]) -> Option<(Id, &Binding)> {
        let ticket = self.tickets.open(token)?;
        let id = ticket.row.filter(|_| ticket.dialog.is_none())?;
        Some((id, self.rows.get(id)?))
    }

    /// The registration that a token names which was recorded in a dialog, for a request in that
    /// very dialog; `client` says which end of it the client is.
    pub fn open_recorded(
        &self,
        token: &[u8],
        request: &Message,
        client: End,
    ) -> Option<(Id, &Binding)> {
        let ticket = self.tickets.open(token)?;
        let is_of = |mark: &DialogMark| mark.is_of(request, client);
        let id = ticket
            .row
            .filter(|_| ticket.dialog.as_ref().is_some_and(is_of))?;
        Some((id, self.rows.get(id)?))
    }

    /// What a token says that an earlier process of this core recorded in a request's dialog, with
    /// a client that the request is for.
    pub(super) fn earlier_recorded(&self, token: &[u8], request: &Message) -> Option<Ticket> {
        let of = |t: &Ticket| t.dialog.is_some_and(|mark| mark.is_of(request, End::To));
        let ticket = self.tickets.open(token)?;
        (ticket.row.is_none() && of(&ticket)).then_some(ticket)
    }

    /// What a token says that an earlier process of this core made, and that is for no one dialog.
    pub(super) fn earlier(&self, token: &[u8]) -> Option<Ticket> {
        let earlier = |t: &Ticket| t.row.is_none() && t.dialog.is_none();
        self.tickets.open(token).filter(earlier)
    }

    /// The one accepted contact that appears inside under this alias; none if there are several.
    pub fn by_alias(&self, alias: &[u8]) -> Option<(Id, &Binding)> {
        let ids = self.by_alias.get(&hash_of(alias))?.iter();
        let mut rows = ids.filter_map(|id| Some((*id, self.rows.get(*id)?)));
        let mut accepted = rows
            .by_ref()
            .filter(|(_, row)| row.confirmed && alias_of(&row.draft.contact) == alias);
        accepted.next().filter(|_| accepted.next().is_none())
    }

    /// The token of a contact: base64url.
    pub fn token(&self, id: Id) -> String {
        let place = self.rows.get(id).map(|row| &row.draft.place);
        place
            .map(|place| self.token_at(id, place))
            .unwrap_or_default()
    }

    /// The token of a contact whose client is at `place`.
    pub(super) fn token_at(&self, id: Id, place: &Place) -> String {
        self.tickets.seal(id, place, None)
    }

    /// The token of a contact that is recorded in a dialog, and good in that one alone.
    pub fn dialog_token(&self, id: Id, dialog: DialogMark) -> String {
        let place = self.rows.get(id).map(|row| &row.draft.place);
        place
            .map(|place| self.tickets.seal(id, place, Some(dialog)))
            .unwrap_or_default()
    }

    /// One contact.
    pub fn get(&self, id: Id) -> Option<&Binding> {
        self.rows.get(id)
    }

    /// All contacts that somebody has registered with this process.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &Binding)> {
        let known = |row: &Binding| row.confirmed && row.draft.registered;
        self.rows.iter().filter(move |(_, row)| known(row))
    }

    /// Rows in use, those without an answer included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Removes what has expired; gives what was registered.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Change> {
        let mut gone = Vec::new();
        while let Some((_, id)) = self.timers.pop(now) {
            gone.push(self.remove(id));
        }
        gone.retain(|change| *change != Change::None);
        gone
    }

    /// When [`Registrar::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// A registration on a flow takes the place of what was proved there before.
    fn drop_proven(&mut self, draft: &Draft) {
        let ids = self.by_flow.get(&flow_hash(&draft.place));
        for id in ids.cloned().unwrap_or_default() {
            let same = |row: &Binding| {
                let here = row.draft.place.token == draft.place.token;
                here && !row.draft.registered && row.draft.aor == draft.aor
            };
            if self.rows.get(id).is_some_and(same) {
                self.remove(id);
            }
        }
    }

    fn rearm(&mut self, id: Id, at: Instant) {
        let timer = self.timers.arm(at, id);
        if let Some(row) = self.rows.get_mut(id) {
            let old = std::mem::replace(&mut row.timer, timer);
            self.timers.disarm(old);
        }
    }

    fn index(&mut self, id: Id, draft: &Draft) {
        push_to(&mut self.by_flow, flow_hash(&draft.place), id);
        if draft.rewritten {
            push_to(
                &mut self.by_alias,
                hash_of(&alias_of(&draft.contact)[..]),
                id,
            );
        }
        if !draft.user.is_empty() {
            let user = user_hash(&draft.user, &draft.directory);
            push_to(&mut self.by_user, user, id);
        }
    }

    fn unindex(&mut self, id: Id, draft: &Draft) {
        drop_from(&mut self.by_flow, &flow_hash(&draft.place), id);
        drop_from(
            &mut self.by_alias,
            &hash_of(&alias_of(&draft.contact)[..]),
            id,
        );
        let user = user_hash(&draft.user, &draft.directory);
        drop_from(&mut self.by_user, &user, id);
    }
}

fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    FixedState::default().hash_one(value)
}

fn flow_hash(place: &Place) -> u64 {
    hash_of(&(place.peer, &place.token[..]))
}

fn user_hash(user: &str, directory: &str) -> u64 {
    hash_of(&(user, directory))
}

/// Most lists hold one row, and all of them together are many.
fn push_to<K: Hash + Eq>(map: &mut HashMap<K, Vec<Id>>, key: K, id: Id) {
    let ids = map.entry(key).or_default();
    ids.reserve_exact(1);
    ids.push(id);
}

fn drop_from<K: Hash + Eq>(map: &mut HashMap<K, Vec<Id>>, key: &K, id: Id) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|i| *i != id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(user: &str, token: &str, port: u16) -> Draft {
        Draft {
            user: user.into(),
            directory: "".into(),
            aor: format!("{user}@example.test"),
            place: Place {
                peer: 0,
                token: token.as_bytes().to_vec(),
                path: format!("<sip:{token}@edge;lr>").into_bytes(),
            },
            contact: format!("sip:{user}@192.0.2.1:{port}").into_bytes(),
            instance: Vec::new(),
            reg_id: String::new(),
            device: String::new(),
            one_device: false,
            lines: Box::default(),
            zone: "CEtcp-cucm1".into(),
            rewritten: true,
            registered: true,
        }
    }

    fn at(secs: u64) -> Now {
        Now::default().plus(Duration::from_secs(secs))
    }

    fn counts(r: &Registrar) -> [usize; 5] {
        [
            r.rows.len(),
            r.by_flow.len(),
            r.by_alias.len(),
            r.by_user.len(),
            r.timers.len(),
        ]
    }

    #[test]
    fn a_contact_counts_once_it_is_accepted_and_leaves_nothing_when_it_expires() {
        let mut r = Registrar::new(&Secret::new([1; 32]), &mut Rng::from_number(1));
        let d = draft("alice", "t1", 5061);
        let id = r.open(at(0), &d).unwrap();
        assert_eq!(r.on_flow(0, b"t1").count(), 0);
        assert_eq!(r.confirm(at(0), id, d.clone(), 120), Change::New);
        assert_eq!(r.on_flow(0, b"t1").count(), 1);
        assert_eq!(r.open(at(60), &d), Some(id));
        assert_eq!(r.confirm(at(60), id, d, 120), Change::Refreshed);
        let token = r.token(id);
        assert_eq!(r.open_token(token.as_bytes()).unwrap().0, id);
        assert_eq!(r.handle_timeout(at(189).instant), vec![]);
        assert!(matches!(
            r.handle_timeout(at(190).instant)[..],
            [Change::Gone { .. }]
        ));
        assert_eq!(counts(&r), [0; 5]);
        assert!(r.open_token(token.as_bytes()).is_none());
    }

    #[test]
    fn a_device_that_moves_keeps_its_row_and_leaves_its_old_flow() {
        let mut r = Registrar::new(&Secret::new([1; 32]), &mut Rng::from_number(1));
        let mut d = draft("alice", "t1", 5061);
        d.instance = b"urn:uuid:1".to_vec();
        let id = r.open(at(0), &d).unwrap();
        r.confirm(at(0), id, d.clone(), 120);
        let moved = Draft {
            place: Place {
                token: b"t2".to_vec(),
                ..d.place.clone()
            },
            ..d
        };
        assert_eq!(r.open(at(1), &moved), Some(id));
        assert_eq!(r.confirm(at(1), id, moved, 120), Change::Refreshed);
        assert_eq!(
            (r.on_flow(0, b"t1").count(), r.on_flow(0, b"t2").count()),
            (0, 1)
        );
    }

    #[test]
    fn an_alias_that_two_users_claim_leads_to_neither() {
        let mut r = Registrar::new(&Secret::new([1; 32]), &mut Rng::from_number(1));
        let alice = draft("alice", "t1", 5061);
        let mallory = Draft {
            contact: alice.contact.clone(),
            ..draft("mallory", "t2", 5061)
        };
        let id = r.open(at(0), &alice).unwrap();
        r.confirm(at(0), id, alice.clone(), 120);
        assert_eq!(r.by_alias(&alias_of(&alice.contact)).unwrap().0, id);
        let other = r.open(at(0), &mallory).unwrap();
        assert_eq!(r.by_alias(&alias_of(&alice.contact)).unwrap().0, id);
        r.confirm(at(0), other, mallory, 120);
        assert!(r.by_alias(&alias_of(&alice.contact)).is_none());
        r.remove(other);
        assert_eq!(r.by_alias(&alias_of(&alice.contact)).unwrap().0, id);
    }

    #[test]
    fn a_user_has_at_most_so_many_contacts() {
        let mut r = Registrar::new(&Secret::new([1; 32]), &mut Rng::from_number(1));
        let made = (0..30).filter(|i| r.open(at(0), &draft("alice", "t", 5000 + i)).is_some());
        assert_eq!(made.count(), USER_BINDINGS_MAX);
        assert!(r.open(at(0), &draft("bob", "t", 1)).is_some());
        assert_eq!(r.handle_timeout(at(60).instant), vec![]);
        assert_eq!(counts(&r), [0; 5]);
    }

    #[test]
    fn the_same_name_in_two_directories_is_two_users() {
        let mut r = Registrar::new(&Secret::new([1; 32]), &mut Rng::from_number(1));
        let of = |directory: &str, port: u16| Draft {
            directory: directory.into(),
            ..draft("alice", "t", port)
        };
        for port in 0..USER_BINDINGS_MAX as u16 {
            assert!(r.open(at(0), &of("one.test", port)).is_some());
        }
        assert!(r.open(at(0), &of("one.test", 99)).is_none());
        let other = r.open(at(0), &of("two.test", 0)).unwrap();
        let found = |directory| r.of_aor("alice", directory, "alice@example.test", "CEtcp-cucm1");
        assert_eq!(found("two.test"), [other]);
        assert_eq!(found("one.test").len(), USER_BINDINGS_MAX);
    }

    #[test]
    fn what_a_digest_proved_is_no_registration_and_goes_with_one() {
        let mut r = Registrar::new(&Secret::new([1; 32]), &mut Rng::from_number(1));
        let proven = Draft {
            registered: false,
            ..draft("alice", "t1", 5061)
        };
        let id = r.open(at(0), &proven).unwrap();
        r.confirm(at(0), id, proven, 600);
        assert_eq!((r.iter().count(), r.on_flow(0, b"t1").count()), (0, 1));
        let mut registered = draft("alice", "t1", 5061);
        registered.instance = b"urn:uuid:1".to_vec();
        let id = r.open(at(1), &registered).unwrap();
        r.confirm(at(1), id, registered, 600);
        assert_eq!((r.iter().count(), r.on_flow(0, b"t1").count()), (1, 1));
        r.remove(id);
        assert_eq!(counts(&r), [0; 5]);
    }
}
