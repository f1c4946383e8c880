//! "Sign this user out now": session tokens, kept credentials, registrations and chat streams of a
//! user end on this core, on its edges, and by way of them on their other cores; call control is
//! told of the registrations that end (`leaving`).
//!
//! An administrator asks here, is told once the sign-out is on the disk, and a core that is killed
//! then still knows it when it comes back. What another core has done comes by an edge. An edge
//! that was taken over could make that up, so it is bounded in time ([`ROWS_MAX`] at once, one a
//! second after that) and told; it gains nothing but that users must sign in again, and a password
//! is asked about as ever. It signs out no whole domain, nor everybody. Tokens are void as soon as
//! it is heard; what takes a walk of the tables waits its turn, at most [`ROWS_MAX`] at a time.
//!
//! A core that was away may miss sign-outs that its peers' tables have no more room for. Then its
//! edges tell it a floor: tokens from then or before are void, whoever's they are. An edge voids so
//! nothing from after its own link came up, since from then on this core hears of each; and that
//! moment moves once in [`MARK_LIFE`] at most, so an edge that drops its link gains little by it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{HashMap, HashSet, Instant, Now, Pii, TokenBucket, UnixTime};
use call::registration::core::{Draft, RegistrationId};
use policy::signed_out::{Lot, ROWS_MAX, SignOut, SignedOut};
use policy::token::LIFE;
use status::{Kind, SignOutReport};

use super::leaving::Leaving;
use super::settings::Judge;
use super::{Core, links};
use crate::io::{Answer, AskId, Output, Record};

/// Walks of the tables at once for what edges tell; one a second comes back.
const WALKS_BURST: u32 = 10;

/// Of more users of a file than this the whole domain is signed out, as one.
const USERS_MAX: usize = 1_000;

/// How often it is told at most that an edge tells of too many.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How long the moment stands up to which an edge's floor counts.
const MARK_LIFE: Duration = Duration::from_secs(600);

/// Floors are taken in steps of a minute, so that there are few of them.
const STEP_MS: u64 = 60_000;

/// Names of one user that are signed out together: as typed, and as directories keep it.
const NAMES_MAX: usize = 8;

/// What the core knows of sign-outs.
pub(super) struct Outs {
    pub(super) known: SignedOut,
    /// Administrators who wait for the disk, by the sign-out's number.
    waiting: HashMap<u64, (AskId, SignOutReport)>,
    heard: TokenBucket,
    /// What was heard and is noted, and who of: at most [`ROWS_MAX`].
    later: VecDeque<(SignOut, Arc<str>)>,
    walks: TokenBucket,
    /// When the next of them have their turn.
    due: Option<Instant>,
    pub(super) leaving: Leaving,
    /// When it was told last that there are too many.
    told: Option<Instant>,
    /// When each edge's link came up, and since when that counts: what it may have missed before.
    marks: HashMap<usize, (UnixTime, Instant)>,
}

impl Outs {
    pub(super) fn new(stored: &[SignOut]) -> Self {
        let mut known = SignedOut::default();
        for out in stored {
            known.note(out.clone());
        }
        Outs {
            known,
            waiting: HashMap::default(),
            heard: TokenBucket::new(1, ROWS_MAX as u32),
            later: VecDeque::new(),
            walks: TokenBucket::new(1, WALKS_BURST),
            due: None,
            leaving: Leaving::new(),
            told: None,
            marks: HashMap::default(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.leaving.due).min()
    }

    /// A link came up.
    pub(super) fn linked(&mut self, now: Now, index: usize) {
        let lasts = |since: Instant| now.instant.since(since) < MARK_LIFE;
        if self
            .marks
            .get(&index)
            .is_none_or(|(_, since)| !lasts(*since))
        {
            self.marks.insert(index, (now.unix, now.instant));
        }
    }
}

impl Core {
    /// An administrator signs a user out; the answer comes once it is stored.
    pub(super) fn sign_out_asked(&mut self, now: Now, id: AskId, user: &str, domain: &str) {
        let mut report = SignOutReport {
            user: Pii::new(user.to_owned()),
            ..SignOutReport::default()
        };
        let domain = &domain.to_ascii_lowercase();
        let outs = self.names_of(user, domain).into_iter();
        let outs: Vec<SignOut> = outs.map(|name| self.new_out(now, name, domain)).collect();
        let fresh = self.note_all(outs);
        self.end_all(now, &fresh, "an administrator", &mut report);
        match fresh.last() {
            Some(last) => {
                self.outs.waiting.insert(last.id, (id, report));
            }
            // All of it is known, and on its way to the disk or there.
            None => {
                let answer = Answer::SignOut(Some(Box::new(report)));
                self.station.out.push_back(Output::Answer { id, answer });
            }
        }
    }

    fn new_out(&mut self, now: Now, user: String, domain: &str) -> SignOut {
        SignOut {
            user: Pii::new(user),
            domain: domain.to_owned(),
            at: now.unix,
            id: self.rng.u64(),
        }
    }

    /// A sign-out is on the disk, or could not be put there.
    pub(super) fn sign_out_kept(&mut self, number: u64, failure: Option<String>) {
        if let Some((id, mut report)) = self.outs.waiting.remove(&number) {
            report.not_stored = failure;
            let answer = Answer::SignOut(Some(Box::new(report)));
            self.station.out.push_back(Output::Answer { id, answer });
        }
    }

    /// An edge tells of sign-outs that another core has seen.
    pub(super) fn sign_outs_heard(
        &mut self,
        now: Now,
        index: usize,
        outs: Vec<traversal::SignOut>,
    ) {
        let mut fresh = Vec::new();
        let mut room = ROWS_MAX.saturating_sub(self.outs.later.len());
        for out in outs {
            let out = SignOut {
                user: out.user,
                domain: out.domain.to_ascii_lowercase(),
                // Not of the future: what comes after it is good.
                at: out.at.min(now.unix),
                id: out.id,
            };
            if out.is_floor() {
                self.floor_heard(now, index, out);
                continue;
            }
            if out.user.expose().is_empty() || self.outs.known.knows(&out) {
                continue;
            }
            if room == 0 || self.outs.heard.take(now.instant).is_err() {
                self.too_many_heard(now, index);
                break;
            }
            room -= 1;
            fresh.push(out);
        }
        let fresh = self.note_all(fresh);
        if fresh.is_empty() {
            return;
        }
        let by: Arc<str> = format!("the edge {}", self.name_of(index)).into();
        let later = &mut self.outs.later;
        for out in fresh {
            later.retain(|(o, _)| o.user != out.user || o.domain != out.domain);
            later.push_back((out, by.clone()));
        }
        self.publish_gate();
        self.end_heard(now);
    }

    /// An edge tells that sign-outs from before a moment are known no longer.
    fn floor_heard(&mut self, now: Now, index: usize, floor: SignOut) {
        let Some((mark, _)) = self.outs.marks.get(&index) else {
            return;
        };
        let step = floor
            .at
            .as_millis()
            .div_ceil(STEP_MS)
            .saturating_mul(STEP_MS);
        let floor = SignOut {
            at: UnixTime::from_millis(step).min(*mark),
            ..floor
        };
        // Nothing that old is good any more.
        if floor.at.plus(LIFE) < now.unix || self.note_all(vec![floor.clone()]).is_empty() {
            return;
        }
        self.publish_gate();
        let proof = [
            ("edge", self.name_of(index)),
            ("until", floor.at.to_string()),
        ];
        let (board, queue) = (&mut self.board, &mut self.station.out);
        board.warned(queue, Kind::SignOutsMissed, now, None, "", &proof);
    }

    fn name_of(&self, index: usize) -> String {
        let link = self.links.get(index);
        link.map(|l| l.peer.verify_name.clone()).unwrap_or_default()
    }

    fn too_many_heard(&mut self, now: Now, index: usize) {
        let of_late = |told: Instant| now.instant.since(told) < TOLD_EVERY;
        if self.outs.told.is_some_and(of_late) {
            return;
        }
        self.outs.told = Some(now.instant);
        let proof = [("edge", self.name_of(index))];
        let (board, queue) = (&mut self.board, &mut self.station.out);
        board.event(queue, Kind::SignOutsDropped, now, "", &proof);
    }

    /// Does what of sign-outs is due.
    pub(super) fn outs_timeout(&mut self, now: Now) {
        self.end_heard(now);
        self.leaving_timeout(now);
    }

    /// Ends what is of users of whose sign-outs was heard, a lot a walk.
    fn end_heard(&mut self, now: Now) {
        while let Some((_, by)) = self.outs.later.front() {
            if let Err(wait) = self.outs.walks.take(now.instant) {
                self.outs.due = Some(now.instant + wait);
                return;
            }
            let by = by.clone();
            let mut lot = Vec::new();
            while lot.len() < traversal::SIGN_OUTS_MAX
                && self.outs.later.front().is_some_and(|(_, b)| *b == by)
                && let Some((out, _)) = self.outs.later.pop_front()
            {
                lot.push(out);
            }
            self.end_all(now, &lot, &by, &mut SignOutReport::default());
        }
        self.outs.due = None;
    }

    /// Users of a domain's file who are no longer in it, or are other than they were.
    pub(super) fn users_changed(
        &mut self,
        now: Now,
        domain: &str,
        digests: Vec<policy::credentials::FileUser>,
        gone: &[Pii<String>],
    ) {
        self.credentials.take_file(domain, digests);
        let mut gone: Vec<&str> = gone.iter().map(|user| user.expose().as_str()).collect();
        if let Some(held) = self.holders(now, domain) {
            gone.retain(|user| held.contains(&user.to_ascii_lowercase()));
        }
        if gone.len() > USERS_MAX {
            gone = vec![""];
        }
        let outs = gone.into_iter().map(str::to_owned);
        let outs: Vec<SignOut> = outs.map(|name| self.new_out(now, name, domain)).collect();
        let fresh = self.note_all(outs);
        self.end_all(
            now,
            &fresh,
            "the file of users",
            &mut SignOutReport::default(),
        );
    }

    /// Who of a domain's users has anything that a sign-out would end; `None` if others may have a
    /// token, of an earlier process or one that is remembered for longer than its user.
    fn holders(&self, now: Now, domain: &str) -> Option<HashSet<String>> {
        if now.instant.since(Instant::ZERO) < LIFE || self.settings.cleanup < LIFE {
            return None;
        }
        let mut held = HashSet::default();
        let mut hold = |user: &str| {
            held.insert(user.to_ascii_lowercase());
        };
        self.credentials
            .names(domain)?
            .into_iter()
            .for_each(&mut hold);
        self.board.users_of(domain).for_each(&mut hold);
        let bindings = self.registrar.iter().map(|(_, b)| b.draft.user.as_str());
        bindings.for_each(&mut hold);
        let pending = self.desk.pending.values().map(|p| p.user.as_str());
        pending.for_each(&mut hold);
        Some(held)
    }

    /// A user's names: as given, and as directories keep it of those who typed that.
    fn names_of(&self, user: &str, domain: &str) -> Vec<String> {
        if user.is_empty() {
            return Vec::new();
        }
        let mut names = vec![user.to_owned()];
        for account in self.credentials.accounts(user, domain) {
            if !names.iter().any(|n| n.eq_ignore_ascii_case(&account)) {
                names.push(account);
            }
        }
        names.truncate(NAMES_MAX);
        names
    }

    /// Notes sign-outs: tokens from before them are void. Those that are new.
    fn note_all(&mut self, outs: Vec<SignOut>) -> Vec<SignOut> {
        let known = &mut self.outs.known;
        let before = known.floor().map(|floor| floor.at);
        let fresh = outs.into_iter().filter(|out| known.note(out.clone()));
        let fresh = fresh.collect();
        if let Some(floor) = known.floor()
            && before != Some(floor.at)
        {
            let record = Record::SignedOut(floor.clone());
            self.station.out.push_back(Output::Keep(Box::new(record)));
        }
        fresh
    }

    /// Ends what users have who were signed out, in one walk of the tables, and tells of it.
    fn end_all(&mut self, now: Now, outs: &[SignOut], by: &str, report: &mut SignOutReport) {
        if outs.is_empty() {
            return;
        }
        let lot = Lot::new(outs);
        report.credentials += self.credentials.sign_out(&lot);
        self.desk_signs_out(&lot);
        report.sessions += self.board.signed_out(now, &lot);
        let rows = self.registrations_of(&lot);
        report.registrations += rows.len();
        let mut flows: HashMap<(usize, u64), Vec<String>> = HashMap::default();
        for (row, out) in rows {
            if let Some(binding) = self.registrar.get(row) {
                let place = &binding.draft.place;
                let token = String::from_utf8_lossy(&place.token).into_owned();
                flows.entry((place.peer, out)).or_default().push(token);
            }
            self.leave_inside(now, row);
            let change = self.registrar.remove(row);
            self.registration_changed(now, change, None, "the user was signed out");
        }
        for index in 0..self.links.len() {
            let mut his = |out: &SignOut| flows.remove(&(index, out.id)).unwrap_or_default();
            let told = outs.iter().map(|out| links::told(out, his(out)));
            let told: Vec<traversal::SignOut> = told.collect();
            self.tell_sign_outs(index, &told);
        }
        self.publish_gate();
        for out in outs {
            let record = Record::SignedOut(out.clone());
            self.station.out.push_back(Output::Keep(Box::new(record)));
            self.station.out.push_back(Output::EndStreams(out.clone()));
            let user = match out.user.expose().is_empty() {
                true => "everybody".to_owned(),
                false => out.user.to_string(),
            };
            let proof = [
                ("user", user),
                ("domain", out.domain.clone()),
                ("by", by.to_owned()),
            ];
            let (board, queue) = (&mut self.board, &mut self.station.out);
            board.event(queue, Kind::SignedOut, now, "", &proof);
        }
    }

    /// The registrations of users from before their sign-outs, and which ended each. An address at
    /// a node of Unified CM is of any domain whose users Unified CM knows; one of a domain's own
    /// directory is that domain's.
    fn registrations_of(&self, lot: &Lot<'_>) -> Vec<(RegistrationId, u64)> {
        let at_home = |out: &SignOut, draft: &Draft| {
            let host = draft.aor.rsplit('@').next().unwrap_or_default();
            let by_unified_cm = || self.settings.signs_in_by(&out.domain) == Judge::UnifiedCm;
            host.eq_ignore_ascii_case(&out.domain)
                || self.settings.domain(host).is_none() && by_unified_cm()
        };
        let here = |out: &SignOut, draft: &Draft| match &*draft.directory {
            _ if out.domain.is_empty() => true,
            "" => at_home(out, draft),
            directory => *directory == *self.settings.directory_of(&out.domain),
        };
        let his = self.registrar.iter().filter_map(|(id, b)| {
            let mut outs = lot.named(&b.draft.user);
            let out = outs.find(|out| here(out, &b.draft) && b.since.unix <= out.at)?;
            Some((id, out.id))
        });
        his.collect()
    }

    /// Tells an edge of all sign-outs that its clients' tokens could be older than.
    pub(super) fn tell_all_sign_outs(&mut self, index: usize) {
        let outs = self.outs.known.records();
        let outs: Vec<traversal::SignOut> = outs.map(|o| links::told(o, Vec::new())).collect();
        self.tell_sign_outs(index, &outs);
    }

    /// Forgets sign-outs that nothing can be older than any more.
    pub(super) fn forget_sign_outs(&mut self, now: Now) {
        let life = LIFE.max(self.settings.cleanup);
        self.outs.known.forget(now.unix, life);
    }
}
