//! Between calls and the media workers: offers, answers, releases and reports find their call.

use base::Id;
use media::Event as Report;

use super::bridge::MediaError;
use super::call::{End, Phase, Side};
use super::{B2bua, Cause, Context, EndedBy, Event};

impl B2bua {
    pub(super) fn bridge_offer(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        text: &[u8],
    ) -> Result<Vec<u8>, MediaError> {
        self.bridge_text(cx, id, from, text, false)
    }

    /// What an end last described, offered to the other once more.
    pub(super) fn bridge_again(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        text: &[u8],
    ) -> Result<Vec<u8>, MediaError> {
        self.bridge_text(cx, id, from, text, true)
    }

    fn bridge_text(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        text: &[u8],
        again: bool,
    ) -> Result<Vec<u8>, MediaError> {
        let (mut desk, calls) = self.desk(cx, id);
        let call = calls.get_mut(id).ok_or(MediaError::Mismatch)?;
        let sides = [call.caller.side, call.callee.side];
        for side in sides {
            if let Side::Edge { link } = side {
                call.bridge.go_to(&mut desk, link);
            }
        }
        call.bridge.offer(&mut desk, from, text, again)
    }

    pub(super) fn bridge_answer(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        text: &[u8],
        early: bool,
    ) -> Result<Vec<u8>, MediaError> {
        let (mut desk, calls) = self.desk(cx, id);
        let call = calls.get_mut(id).ok_or(MediaError::Mismatch)?;
        let answer = call.bridge.answer(&mut desk, from, text, early)?;
        if let Some(kbps) = call.bridge.little_rate() {
            self.tell(Some(id), Event::LittleRate { kbps });
        }
        Ok(answer)
    }

    pub(super) fn is_pending(&self, id: Id) -> bool {
        self.calls
            .get(id)
            .is_some_and(|call| call.bridge.is_pending())
    }

    /// An offer was refused or lost.
    pub(super) fn roll_back(&mut self, cx: &mut Context<'_>, id: Id) {
        let (mut desk, calls) = self.desk(cx, id);
        if let Some(call) = calls.get_mut(id) {
            call.bridge.roll_back(&mut desk);
        }
    }

    pub(super) fn release_media(&mut self, cx: &mut Context<'_>, id: Id) {
        let (mut desk, calls) = self.desk(cx, id);
        if let Some(call) = calls.get_mut(id) {
            call.bridge.release(&mut desk);
        }
    }

    pub(super) fn media_report(&mut self, cx: &mut Context<'_>, report: &Report) {
        match *report {
            Report::Counters {
                leg,
                counters,
                last,
            } => {
                let Some(id) = self.studio.call_of(leg) else {
                    return;
                };
                if let Some(call) = self.calls.get_mut(id) {
                    call.bridge.count(&mut self.studio, leg, counters, last);
                }
                if last {
                    self.settle_record(id);
                }
            }
            Report::BindFailed { leg, .. } => {
                let Some(id) = self.studio.call_of(leg) else {
                    return;
                };
                let ending = self.calls.get(id).is_none_or(|c| c.phase == Phase::Ending);
                if !ending {
                    self.tell(Some(id), Event::BindFailed);
                    let cause = Cause::Media(MediaError::NoPorts);
                    self.hang_up(cx, id, EndedBy::Us, cause, 503, "Service Unavailable");
                }
                // The workers have no such leg, so no last figures come.
                if let Some(call) = self.calls.get_mut(id) {
                    let none = media::Counters::default();
                    call.bridge.count(&mut self.studio, leg, none, true);
                }
                self.settle_record(id);
            }
            Report::NoMedia { leg, .. } => {
                if let Some(id) = self.studio.call_of(leg) {
                    self.tell(Some(id), Event::NoMedia);
                }
            }
            Report::Installed { .. }
            | Report::Latched { .. }
            | Report::Rested { .. }
            | Report::LinkState { .. } => {}
        }
    }
}
