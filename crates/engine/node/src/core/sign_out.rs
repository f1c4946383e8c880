//! "Sign this user out now": session tokens, kept credentials, registrations and chat streams of a
//! user end on this core, on its edges, and by way of them on their other cores.
//!
//! An administrator asks here, is told once the sign-out is on the disk, and a core that is killed
//! then still knows it when it comes back. What another core has done comes by an edge. An edge
//! that was taken over could make that up, so it is bounded in time ([`HEARD_BURST`]) and told; it
//! gains nothing but that users must sign in again, and a password is asked about as ever.

use base::{HashMap, Now, Pii, TokenBucket};
use call::registration::core::RegistrationId;
use policy::signed_out::{SignOut, SignedOut};
use policy::token::LIFE;
use status::{Kind, SignOutReport};

use super::settings::Judge;
use super::{Core, links};
use crate::io::{Answer, AskId, Output, Record};

/// Sign-outs taken from edges at once; one a second comes back.
const HEARD_BURST: u32 = 50;

/// Names of one user that are signed out together: as typed, and as directories keep it.
const NAMES_MAX: usize = 8;

/// What the core knows of sign-outs.
pub(super) struct Outs {
    pub(super) known: SignedOut,
    /// Administrators who wait for the disk, by the sign-out's number.
    waiting: HashMap<u64, (AskId, SignOutReport)>,
    heard: TokenBucket,
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
            heard: TokenBucket::new(1, HEARD_BURST),
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
        let mut last = None;
        for user in self.names_of(user, domain) {
            let out = SignOut {
                user: Pii::new(user),
                domain: domain.to_owned(),
                at: now.unix,
                id: self.rng.u64(),
            };
            if self.sign_out(now, &out, "an administrator", &mut report) {
                last = Some(out.id);
            }
        }
        match last {
            Some(last) => {
                self.outs.waiting.insert(last, (id, report));
            }
            // All of it is known, and on its way to the disk or there.
            None => {
                let answer = Answer::SignOut(Some(Box::new(report)));
                self.station.out.push_back(Output::Answer { id, answer });
            }
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
        let by = self.links.get(index).map(|l| l.peer.verify_name.clone());
        let by = format!("the edge {}", by.unwrap_or_default());
        for out in outs {
            let out = SignOut {
                user: out.user,
                domain: out.domain,
                // Not of the future: what comes after it is good.
                at: out.at.min(now.unix),
                id: out.id,
            };
            let known = self.outs.known.clone().note(out.clone());
            if known && self.outs.heard.take(now.instant).is_ok() {
                self.sign_out(now, &out, &by, &mut SignOutReport::default());
            }
        }
    }

    /// Users of a domain's file who are no longer in it, or have another password.
    pub(super) fn users_changed(
        &mut self,
        now: Now,
        domain: &str,
        digests: Vec<policy::credentials::FileUser>,
        gone: &[Pii<String>],
    ) {
        self.credentials.take_file(domain, digests);
        for user in gone {
            let out = SignOut {
                user: user.clone(),
                domain: domain.to_owned(),
                at: now.unix,
                id: self.rng.u64(),
            };
            self.sign_out(
                now,
                &out,
                "the file of users",
                &mut SignOutReport::default(),
            );
        }
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

    /// Signs a user out, unless that is known already; whether it is new.
    fn sign_out(&mut self, now: Now, out: &SignOut, by: &str, report: &mut SignOutReport) -> bool {
        if !self.outs.known.note(out.clone()) {
            return false;
        }
        let user = out.user.expose();
        let domain = (!out.domain.is_empty()).then_some(out.domain.as_str());
        report.credentials += self.credentials.sign_out(user, domain);
        self.desk_signs_out(out);
        report.sessions += self.board.signed_out(now, out);
        let rows = self.registrations_of(out);
        report.registrations += rows.len();
        let mut flows: HashMap<usize, Vec<String>> = HashMap::default();
        for row in rows {
            if let Some(binding) = self.registrar.get(row) {
                let place = &binding.draft.place;
                let token = String::from_utf8_lossy(&place.token).into_owned();
                flows.entry(place.peer).or_default().push(token);
            }
            let change = self.registrar.remove(row);
            self.registration_changed(now, change, None, "the user was signed out");
        }
        for index in 0..self.links.len() {
            let flows = flows.remove(&index).unwrap_or_default();
            self.tell_sign_outs(index, &[links::told(out, flows)]);
        }
        self.publish_gate();
        let record = Record::SignedOut(out.clone());
        self.station.out.push_back(Output::Keep(Box::new(record)));
        self.station.out.push_back(Output::EndStreams(out.clone()));
        let proof = [
            ("user", out.user.to_string()),
            ("domain", out.domain.clone()),
            ("by", by.to_owned()),
        ];
        let (board, queue) = (&mut self.board, &mut self.station.out);
        board.event(queue, Kind::SignedOut, now, "", &proof);
        true
    }

    /// The registrations of a user from before a sign-out. An address at a node of Unified CM is of
    /// any domain whose users Unified CM knows.
    fn registrations_of(&self, out: &SignOut) -> Vec<RegistrationId> {
        let here = |aor: &str| {
            let host = aor.rsplit('@').next().unwrap_or_default();
            out.domain.is_empty()
                || host.eq_ignore_ascii_case(&out.domain)
                || self.settings.domain(host).is_none()
                    && self.settings.signs_in_by(&out.domain) == Judge::UnifiedCm
        };
        let his = self.registrar.iter().filter(|(_, b)| {
            let draft = &b.draft;
            draft.user.eq_ignore_ascii_case(out.user.expose())
                && here(&draft.aor)
                && b.since.unix <= out.at
        });
        his.map(|(id, _)| id).collect()
    }

    /// Tells an edge of all sign-outs that its clients' tokens could be older than.
    pub(super) fn tell_all_sign_outs(&mut self, index: usize) {
        let outs = self.outs.known.iter();
        let outs: Vec<traversal::SignOut> = outs.map(|o| links::told(o, Vec::new())).collect();
        self.tell_sign_outs(index, &outs);
    }

    /// Forgets sign-outs that nothing can be older than any more.
    pub(super) fn forget_sign_outs(&mut self, now: Now) {
        let life = LIFE.max(self.settings.cleanup);
        self.outs.known.forget(now.unix, life);
    }
}
