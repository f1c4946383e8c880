//! Events, numbered once and for all.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use base::{UnixTime, line};
use serde::{Deserialize, Serialize};

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Registrations, calls, links.
    Info,
    /// Would wake someone.
    Warning,
    /// Something does not work.
    Error,
}

macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $name:ident = $code:literal, $severity:ident, $title:literal, $fix:literal;
    )*) => {
        /// What happened. Numbers are never used again for something else: 1xxx links, 2xxx
        /// registrations and calls, 3xxx sign-in and HTTP, 4xxx XMPP, 5xxx media, 6xxx protection,
        /// 7xxx certificates.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $name = $code,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// How much it matters.
            pub fn severity(self) -> Severity {
                match self { $(Kind::$name => Severity::$severity,)* }
            }

            /// In a few words.
            pub fn title(self) -> &'static str {
                match self { $(Kind::$name => $title,)* }
            }

            /// What an administrator can do; empty where nothing needs doing.
            pub fn fix(self) -> &'static str {
                match self { $(Kind::$name => $fix,)* }
            }
        }
    };
}

impl Kind {
    /// Whether it tells of a link, its lanes or its media: good news counts there, too.
    pub fn is_of_link(self) -> bool {
        (1000..2000).contains(&(self as u16)) || self == Kind::MediaLink
    }
}

kinds! {
    /// The control lane of a link stands.
    LinkUp = 1001, Info, "link up", "";
    /// It is gone.
    LinkDown = 1002, Warning, "link down",
        "check that both nodes run and that the core reaches the edge on TCP 7001; the core dials \
         again by itself";
    /// A peer was refused.
    LinkRefused = 1003, Error, "link refused",
        "set the same user and password in the edge's traversal.zone and the core's \
         traversal.peer, and run the same release on both; a certificate must be valid, carry \
         the name that the other node's configuration holds, and come from an authority in the \
         other's certificate.trusted";
    /// The clocks differ.
    ClockSkew = 1004, Error, "clocks differ",
        "synchronise both nodes by NTP: tokens and nonces carry times, and sign-in fails with \
         401 or 403 when clocks differ";
    /// A lane with connections of its own came or went.
    Lane = 1005, Info, "lane", "";
    /// A lane is gone while the link stands.
    LaneDown = 1006, Warning, "lane down",
        "check that the firewall between core and edge lets the lane's port through \
         (docs/ports.md)";
    /// A connection did not show the zone's password.
    LaneRefused = 1007, Error, "lane refused",
        "set the same user and password in the edge's traversal.zone and the core's \
         traversal.peer";
    /// Nothing steers the machine's clock.
    ClockLoose = 1008, Warning, "clock not synchronised",
        "run chrony or systemd-timesyncd on this machine with servers that it can reach: UDP 123";
    /// Something does again.
    ClockSteered = 1009, Info, "clock synchronised", "";
    /// The clocks of a link agree again.
    ClocksAgree = 1010, Info, "clocks agree again", "";
    /// A client registered, or refreshed.
    Registered = 2001, Info, "registered", "";
    /// It unregistered, or its connection went.
    Unregistered = 2002, Info, "registration ended", "";
    /// A registration was refused.
    RegistrationRefused = 2003, Warning, "registration refused",
        "check the user's password, and that the device belongs to the user";
    /// A device came back on another connection.
    RegistrationMoved = 2004, Info, "registration moved to a new connection", "";
    /// A request of somebody who is not registered, or that belongs to somebody else.
    RequestRefused = 2005, Info, "SIP request refused", "";
    /// A registered client names a sender that is not registered on its connection.
    FromRefused = 2006, Warning, "request under another's name refused",
        "set the client's From to the address of record that it registers; a user who did not \
         change it may be trying to pass for another";
    /// A client asks for a destination that would lead call control elsewhere.
    TargetRefused = 2007, Warning, "SIP destination refused",
        "dial a number or a user at a domain, without address, port or maddr; a server inside \
         is reached by its name in unified_cm or call_control";
    /// Call control refuses a registration.
    RegistrarRefused = 2008, Warning, "call control refuses a registration",
        "read what it says (status, warning): at 403 and 404 check that the device is configured \
         there with this line, and its phone security profile; at 405 that the port is no \
         trunk's; at 500 and 503 that its call processing runs and is not overloaded";
    /// A client names a call that is not its own, to take it over or join it.
    TakeoverRefused = 2009, Warning, "taking over another's call refused",
        "nothing, if it was no attempt: a call is taken over by its own user, by who shares its \
         line, or by whom a REFER from inside asks within two minutes; picking up another's \
         call goes by call control (its pickup groups)";
    /// A call began.
    CallBegan = 2010, Info, "call began", "";
    /// It ended.
    CallEnded = 2011, Info, "call ended", "";
    /// It could not be set up.
    CallFailed = 2012, Warning, "call failed",
        "read the cause: at a status call control's own log says why it gave it; a link or a \
         server that cannot be reached, or media that cannot be agreed on, has an event of its own";
    /// Call control does not let go of a registration that a sign-out has ended.
    LeaveRefused = 2013, Warning, "call control keeps a registration that has ended here",
        "call control rings the user there until the registration runs out: remove it there, and \
         let it take REGISTERs of the core without a password of their own, as it takes those of \
         clients";
    /// A call was busy, declined, cancelled, or for nobody who is there.
    CallUnanswered = 2014, Info, "call not answered", "";
    /// A message grew past what its receiver takes.
    MessageTooLarge = 2019, Warning, "SIP message too large to be sent on",
        "look at who sends it: a message that grows so large is nothing that a telephone sends";
    /// No core can take a client's request.
    NoCore = 2020, Error, "no core is linked",
        "check the links (causeway status); clients get 503 until one is up";
    /// Call control cannot be reached.
    CallControlDown = 2021, Error, "a zone's server cannot be reached",
        "check that the server runs, and its address and port in the configuration";
    /// No rule leads to a destination.
    NoRoute = 2022, Warning, "no route",
        "add the server's domain to unified_cm or call_control";
    /// A host inside that is no call control sends SIP to the core.
    SenderRefused = 2023, Warning, "SIP from an unknown host inside refused",
        "if the host is call control, name it in unified_cm, call_control or zones, or let its \
         network in with service.sip.accept_from; if it is not, nothing is amiss but the host";
    /// Search rules lead a neighbour's request nowhere.
    SearchRefused = 2024, Warning, "no search rule leads to the destination",
        "see what each rule makes of it by causeway ctl search, and add or correct a rule in \
         search_rules; nothing is routed without one";
    /// A trunk and the phones of a node meet at one port.
    PortConflict = 2025, Error, "a trunk uses the port that phones register at",
        "give the SIP trunk's security profile on Unified CM an incoming port of its own, as 5560, \
         and write it as the zone's port: on a shared port Unified CM takes registrations for the \
         trunk and refuses them";
    /// A client transfers a call with a trunk that may not call.
    TransferRefused = 2026, Warning, "transfer of a call with a trunk refused",
        "set accept_incoming = true in the trunk's zone: who is transferred there has to call \
         whom the client names";
    /// There are as many calls as there may be.
    CallsFull = 2030, Warning, "call refused: no room for one more",
        "raise calls.concurrent_max or calls.licences if the machine carries more, or add a core; \
         of one user: look who it is";
    /// There soon will be.
    CallsNear = 2031, Warning, "a limit of calls is near",
        "raise calls.concurrent_max or calls.licences if the machine carries more, or add a core";
    /// There are as many registrations as there may be.
    RegistrationsFull = 2032, Warning, "registration refused: no room for one more",
        "raise calls.registrations_max, or add a core";
    /// There are fewer calls again.
    CallsFar = 2033, Info, "a limit of calls is no longer near", "";
    /// A user signed in.
    SignedIn = 3001, Info, "signed in", "";
    /// The password was wrong, or nobody knows the user.
    SignInRefused = 3002, Warning, "sign-in refused",
        "check the user's password; where several clusters exist, that ILS is on all of them";
    /// The inside could not be asked.
    SignInUnreachable = 3003, Error, "sign-in impossible: inside server unreachable",
        "check that the server runs, that the core resolves its name, and that \
         certificate.trusted holds the authority of its certificate";
    /// A user tries too often.
    SignInLimited = 3004, Warning, "sign-in slowed down",
        "the client repeats itself; it may try again after the time it was told";
    /// The file of local users cannot be read.
    CredentialsFile = 3005, Error, "the credentials file cannot be used",
        "write each line of credentials.file as user:realm:MD5:SHA-256[:line,line]";
    /// Sign-ins will not outlive a restart, or did not.
    CredentialsLost = 3006, Warning, "kept credentials are lost",
        "the users concerned sign in again; check the data folder's disk and its free space";
    /// An administrator signed a user out.
    SignedOut = 3007, Info, "signed out", "";
    /// A domain's file of users cannot be read.
    UsersFile = 3008, Error, "a file of users cannot be used",
        "see that the user that runs the core may read the file (chown, chmod) and correct the \
         line that the cause names; nobody of the domain can sign in until then";
    /// An edge tells of more sign-outs than there can be.
    SignOutsDropped = 3009, Warning, "sign-outs that an edge tells of are not taken",
        "an edge tells of thousands at once: check that nobody has taken it over, then sign out on \
         this core whom it concerns";
    /// A request was refused at the proxy.
    HttpRefused = 3010, Info, "HTTP request refused",
        "if the server should be reachable, add it to allow_list: causeway ctl allow-list denied \
         prints the rule";
    /// An inside web server failed.
    HttpUnreachable = 3011, Warning, "inside web server unreachable",
        "check that the server runs, that the core resolves its name, and that \
         certificate.trusted holds the authority of its certificate";
    /// Sign-outs were missed while the core was away, and cannot be told any more one by one.
    SignOutsMissed = 3012, Warning, "sessions from before a gap in sign-outs have ended",
        "nothing: there were more sign-outs than are remembered while this core was away, so who \
         had signed in before signs in again; if nobody was signed out, check that nobody has \
         taken the edge over";
    /// The configured rules of the allow list are others.
    AllowListChanged = 3013, Info, "allow list changed", "";
    /// A publisher was asked for its nodes.
    Discovered = 3020, Info, "servers discovered", "";
    /// It did not answer as it should.
    DiscoveryFailed = 3021, Error, "discovery failed",
        "check address, user, password and role (Standard AXL API Access) of the publisher, \
         that the Cisco AXL Web Service is active, and that certificate.trusted holds the \
         authority of its certificate; causeway ctl servers refresh asks again at once";
    /// A reading differs from the one before.
    ServersChanged = 3022, Info, "servers changed", "";
    /// A node is listed no longer.
    NodeGone = 3023, Warning, "a node is listed no longer",
        "nothing, if it was removed on purpose: calls through it go on until they end, and its \
         clients register elsewhere; else look for it under System > Server of the publisher";
    /// A phone security profile's name is not in our certificate, or is none (F073, F213).
    ProfileNotNamed = 3024, Warning, "a secure profile's name is missing from the certificate",
        "have the core's certificate issued again with the profile's name in subjectAltName; a \
         name that is not fully qualified must first be changed on Unified CM: no device of this \
         profile registers over TLS until then";
    /// Servers of one deployment are in different domains (F022, F029).
    DomainsDiffer = 3025, Warning, "inside servers are in different domains",
        "give the nodes of Unified CM and of IM and Presence names in one domain, or name each by \
         its fully qualified name and see that certificates carry it";
    /// A setting of Unified CM would trouble remote clients.
    SettingAmiss = 3026, Warning, "a setting of Unified CM will trouble clients",
        "see causeway ctl servers check for what was seen and what to set";
    /// An identity provider vouched for a user.
    SignedOn = 3030, Info, "signed on by an identity provider", "";
    /// It did not, or what came back is not its word for us.
    SsoRefused = 3031, Warning, "single sign-on refused",
        "compare what is named with the identity provider's settings for this service: entity \
         id or client id, address to come back to, signing key, status; its metadata here must be \
         its current ones";
    /// A genuine token or answer that does not name a user as configured.
    UserUnnamed = 3032, Error, "the identity provider does not name the user",
        "have it send the attribute (uid, unless user_attribute says otherwise) or the claim of \
         user_claim, or write the name under which it does";
    /// A token or answer out of its time: a clock is wrong.
    IssuerClock = 3033, Error, "out of time: a clock is wrong",
        "synchronise the identity provider, the core and the edge by NTP";
    /// A token that is not its issuer's.
    TokenForged = 3034, Warning, "forged or unreadable token refused",
        "nothing, unless users are refused: then compare domains.tokens with the issuer that \
         their tokens name";
    /// A genuine token that is for somebody else.
    TokenUnfit = 3035, Warning, "token of another issuer or audience refused",
        "write the issuer and audience that the cause names into domains.tokens, if tokens of \
         that kind are to count; or have the client ask for a token for this service";
    /// A token that was good once.
    TokenExpired = 3036, Info, "expired token shown", "";
    /// An issuer's keys are known, or have changed.
    IssuerKeys = 3037, Info, "keys of an identity provider taken over", "";
    /// An issuer cannot be asked.
    IssuerUnreachable = 3038, Error, "identity provider unreachable",
        "check that it runs, that the core resolves its name and reaches it over HTTPS, that \
         certificate.trusted holds the authority of its certificate, and that issuer is written \
         as its discovery document writes it; keys that are known stay good meanwhile";
    /// Its certificate is out of date.
    IdpCertificate = 3039, Warning, "the certificate of a SAML identity provider has expired",
        "fetch its current metadata into sign_in.metadata_file; answers signed with the old key \
         still count";
    /// Its metadata cannot be used.
    IdpMetadata = 3040, Error, "the metadata of a SAML identity provider cannot be used",
        "fetch its metadata again into sign_in.metadata_file: one IDPSSODescriptor with a \
         signing certificate and a SingleSignOnService by HTTP-Redirect at an https address";
    /// A key for tokens, or for requests to an identity provider, is missing or cannot be used.
    SsoKey = 3041, Error, "a key of single sign-on is missing or cannot be used",
        "see the setting that the cause names, and write the file that it asks for: keys in PKCS \
         #8 without a passphrase, of RSA with 2048 bits at least";
    /// A chat session signed in.
    XmppUp = 4001, Info, "chat session up", "";
    /// It ended.
    XmppDown = 4002, Info, "chat session ended", "";
    /// The chat server knows the user and gives no session.
    XmppRefused = 4003, Warning, "chat server gives no session",
        "at conflict (409) check on every IM and Presence node that the Cisco Intercluster Sync \
         Agent and the Cisco XCP services run; else look for the user in the server's own log";
    /// A media port could not be opened.
    PortTaken = 5001, Error, "a media port is taken",
        "keep other programs out of the range: add it to net.ipv4.ip_local_reserved_ports";
    /// No port is left.
    PortsExhausted = 5002, Error, "no media port is left",
        "widen service.media.ports";
    /// A party sends nothing.
    NoMedia = 5003, Warning, "no media",
        "check that the firewall lets UDP through as docs/ports.md says, and that the party is \
         not muted";
    /// An offer or answer without a key we can use.
    NoCrypto = 5004, Warning, "no usable media key",
        "switch the client to SRTP with SDES (RFC 4568); media outside is never unencrypted";
    /// Packets that were not what a call's media must be; none of them went on.
    MediaDropped = 5005, Info, "foreign media dropped", "";
    /// A region of Unified CM allows a video call what nobody changed it from (F341).
    LittleRate = 5006, Warning, "a video call has little bandwidth",
        "on Unified CM raise the Maximum Session Bit Rate for Video Calls between the regions of \
         the two devices (System, Region Information, Region), as to 6000 kbps; pictures and \
         shared screens are poor or missing below that";
    /// The link's media.
    MediaLink = 5010, Info, "media link", "";
    /// The link's media does not flow.
    MediaLinkDown = 5011, Error, "media link down",
        "check that the firewall lets UDP 36000 and 36001 through from core to edge";
    /// A peer broke a protocol and lost its connection.
    Violation = 6001, Info, "protocol violation", "";
    /// Wrong credentials from outside.
    WrongCredentials = 6002, Info, "wrong credentials", "";
    /// A peer sends faster than it may.
    Flooded = 6003, Info, "too many requests from one connection", "";
    /// A source guessed too often and is not heard for a while.
    Banned = 6004, Warning, "source banned for a while",
        "nothing, unless it is an office of yours behind one address: then one device there holds \
         an old password";
    /// A connection was closed that took no refusal for an answer.
    FloodCut = 6005, Info, "flooding connection closed", "";
    /// More comes in than the node can handle.
    Overloaded = 6006, Warning, "overloaded: new work is refused",
        "see which clients are at it (6003, 6005); give the node more processor, or spread the \
         clients over more edges or cores; overload.refuse_new_ms and its like say from when on";
    /// That has passed.
    OverloadOver = 6007, Info, "overload has passed", "";
    /// A client showed a certificate that is vouched for.
    CertificateShown = 6008, Info, "client certificate verified", "";
    /// A client's certificate is not accepted, or it showed none where it has to.
    ClientCertificateRefused = 6009, Warning, "client certificate refused",
        "if the device is ours, give it a certificate that an authority in \
         service.sip.client_authorities signed and that is valid now, or write client_certificates \
         = \"request\" where devices have none; a stranger's is rightly refused";
    /// A certificate, key or trust is in use from now on.
    CertificateTaken = 7001, Info, "certificate and trust in use", "";
    /// What the files hold now cannot be used.
    CertificateNotTaken = 7002, Error, "certificate or trust not taken",
        "see causeway ctl certificate check, which names each fault of chain and key; what was \
         there before is used until then, but the node would not start with these files";
    /// A certificate runs out soon.
    CertificateEnds = 7003, Warning, "certificate runs out soon",
        "have it issued again: causeway ctl certificate request makes key and request, causeway \
         ctl certificate install puts the answer in place; a peer's is its administrator's to \
         renew, an authority's new one is added by causeway ctl certificate trusted add";
    /// It has run out.
    CertificateEnded = 7004, Error, "certificate has run out",
        "have it issued again, now: handshakes that need it fail; remove an authority that nobody \
         uses any more by causeway ctl certificate trusted remove";
}

/// Room for what is shown of most values.
const TEXT_USUAL: usize = 24;

/// The most that is told of a cause or of one thing seen, in bytes.
const TEXT_MAX: usize = 2_048;

/// Words of an event as they are logged, kept and told: in one line, within a bound. They may be
/// another machine's.
pub(crate) fn told(text: &str) -> Cow<'_, str> {
    line(text, TEXT_MAX)
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// When.
    pub at: UnixTime,
    /// Why, in words.
    pub cause: String,
    /// What was seen: names and values.
    pub proof: Vec<(&'static str, String)>,
    /// The addresses that marks in [`Event::proof`] stand for. No log has them: they are for the
    /// rows of a status page, so that whoever reads a fix there can follow it.
    addresses: Vec<(&'static str, IpAddr)>,
}

impl Event {
    /// An event with its cause.
    pub fn new(kind: Kind, at: UnixTime, cause: impl Into<String>) -> Self {
        Event {
            kind,
            at,
            cause: cause.into(),
            proof: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// Adds what was seen. Persons go in as [`base::Pii`], whose text hides them.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(TEXT_USUAL);
        // Writing to a string does not fail.
        let _ = write!(text, "{value}");
        self.proof.push((name, text));
        self
    }

    /// Adds an address outside: a mark in the log, the address itself in a row of a status page.
    #[must_use]
    pub fn with_address(mut self, name: &'static str, address: IpAddr) -> Self {
        self.addresses.push((name, address));
        self.with(name, base::Pii::new(address))
    }

    /// What a row of a status page shows of the proof.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        self.proof.iter().map(|(name, value)| {
            let address = self.addresses.iter().find(|(n, _)| n == name);
            let shown = address.map(|(_, address)| Cow::Owned(address.to_string()));
            (*name, shown.unwrap_or_else(|| told(value)))
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind as u16, self.kind.title())?;
        if !self.cause.is_empty() {
            write!(f, ": {}", told(&self.cause))?;
        }
        for (name, value) in &self.proof {
            write!(f, " {name}={}", told(value))?;
        }
        if !self.kind.fix().is_empty() {
            write!(f, " | fix: {}", self.kind.fix())?;
        }
        Ok(())
    }
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("code", &(self.kind as u16))?;
        map.serialize_entry("severity", &self.kind.severity())?;
        map.serialize_entry("title", self.kind.title())?;
        map.serialize_entry("at", &self.at.to_string())?;
        map.serialize_entry("cause", &told(&self.cause))?;
        let proof = self.proof.iter().map(|(name, value)| (*name, told(value)));
        let proof: std::collections::BTreeMap<_, _> = proof.collect();
        map.serialize_entry("proof", &proof)?;
        map.serialize_entry("fix", self.kind.fix())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_and_warning_that_an_administrator_can_mend_says_how() {
        for kind in Kind::ALL {
            let needs = kind.severity() > Severity::Info;
            assert!(!needs || !kind.fix().is_empty(), "{kind:?} has no fix");
            assert!(!kind.title().is_empty());
        }
    }

    #[test]
    fn words_of_another_machine_begin_no_line_of_their_own_and_are_cut() {
        let forged = "no\n2026-01-01T00:00:00Z ERROR event: 1003 forged\u{1b}[2J";
        let long = "x".repeat(100_000);
        let event = Event::new(Kind::DiscoveryFailed, UnixTime::from_millis(0), forged)
            .with("publisher", forged)
            .with("seen", &long);
        let row = crate::EventRow::of(&event);
        let json = serde_json::to_string(&event).unwrap_or_default();
        let kept = serde_json::to_string(&row).unwrap_or_default();
        for text in [event.to_string(), json, kept] {
            assert!(!text.contains("\\n") && !text.contains("\\u001b"), "{text}");
            assert!(!text.contains(char::is_control), "{text}");
            assert!(text.contains("no·2026") && text.len() < 4_096, "{text}");
        }
    }

    #[test]
    fn an_event_is_one_line_with_number_cause_proof_and_fix() {
        let e = Event::new(
            Kind::LinkDown,
            UnixTime::from_millis(0),
            "nothing heard for 15 s",
        )
        .with("core", "core1.example.test")
        .with("user", base::Pii::new("alice"));
        let line = e.to_string();
        assert!(line.starts_with("1002 link down: nothing heard for 15 s core=core1"));
        assert!(line.contains("fix: check that") && !line.contains("alice"));
    }
}
