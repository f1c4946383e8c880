//! What a call leaves behind: who, when, how it ended, and its media in figures.

use base::{Id, Now, Pii, UnixTime};
use media::Counters;
use sip::{Message, Name};

use super::CallId;
use super::bridge::{Bridge, MediaError};

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The end that called.
    Caller,
    /// The end that was called.
    Callee,
    /// The core.
    Us,
}

/// Why a call ended, or never began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// One end hung up.
    Hangup,
    /// The caller cancelled.
    Cancelled,
    /// The INVITE was answered with this failure.
    Status(u16),
    /// No answer came.
    Timeout,
    /// The connection to one end is gone.
    FlowDown,
    /// The client's connection was lost, and it did not come back.
    ClientLost,
    /// The media link is gone.
    LinkDown,
    /// A 2xx was never acknowledged.
    NoAck,
    /// A 2xx made no dialog.
    BadAnswer,
    /// Nobody refreshed the session.
    SessionExpired,
    /// Media could not be bridged.
    Media(MediaError),
}

/// One m-line's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaFigures {
    /// `audio`, `video`, …
    pub kind: String,
    /// Packets and octets both ways.
    pub counters: Counters,
}

/// A call that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which it was.
    pub call: CallId,
    /// Its Call-ID, the same on both legs.
    pub call_id: Vec<u8>,
    /// The From URI of the INVITE.
    pub from: Pii<String>,
    /// The To URI of the INVITE.
    pub to: Pii<String>,
    /// The value of its Session-ID, if it had one (RFC 7989).
    pub session_id: Option<Vec<u8>>,
    /// Whether the caller was the remote client.
    pub from_edge: bool,
    /// When the INVITE came in.
    pub start: UnixTime,
    /// When the first 18x went back.
    pub ringing: Option<UnixTime>,
    /// When the 2xx went back.
    pub answer: Option<UnixTime>,
    /// When it was over.
    pub end: UnixTime,
    /// Who ended it.
    pub by: EndedBy,
    /// Why.
    pub cause: Cause,
    /// Its m-lines.
    pub media: Vec<MediaFigures>,
}

/// A record being written.
pub(super) struct Draft {
    record: Option<Record>,
    pub(super) answer: Option<UnixTime>,
}

impl Draft {
    pub(super) fn new(invite: &Message, now: Now, from_edge: bool) -> Self {
        let uri = |address: Result<sip::NameAddr<'_>, _>| {
            address
                .map(|a| String::from_utf8_lossy(a.uri).into_owned())
                .unwrap_or_default()
        };
        let record = Record {
            call: CallId(Id::new(u32::MAX, u32::MAX)),
            call_id: invite.call_id().to_vec(),
            from: Pii::new(uri(invite.from())),
            to: Pii::new(uri(invite.to())),
            session_id: invite.header(Name::SessionId).map(<[u8]>::to_vec),
            from_edge,
            start: now.unix,
            ringing: None,
            answer: None,
            end: now.unix,
            by: EndedBy::Us,
            cause: Cause::Hangup,
            media: Vec::new(),
        };
        Draft {
            record: Some(record),
            answer: None,
        }
    }

    pub(super) fn ringing(&mut self, now: Now) {
        if let Some(record) = &mut self.record {
            record.ringing.get_or_insert(now.unix);
        }
    }

    pub(super) fn answered(&mut self, now: Now) {
        self.answer = Some(now.unix);
        if let Some(record) = &mut self.record {
            record.answer = Some(now.unix);
        }
    }

    pub(super) fn ended(&mut self, now: Now, by: EndedBy, cause: Cause) {
        if let Some(record) = &mut self.record {
            record.end = now.unix;
            record.by = by;
            record.cause = cause;
        }
    }

    /// The record with its media, once.
    pub(super) fn take(&mut self, call: CallId, bridge: &Bridge) -> Option<Record> {
        let mut record = self.record.take()?;
        record.call = call;
        record.media = bridge.figures();
        Some(record)
    }

    pub(super) fn is_taken(&self) -> bool {
        self.record.is_none()
    }
}
