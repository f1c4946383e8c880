//! Whole elements, for the part of a stream that is read and not only framed.

use crate::header::StreamHeader;
use crate::tree::{self, Node};
use crate::{Framer, Kind, Limits, Violation};

/// One direction of a stream that is negotiated. Holds at most one element of [`Limits`] size.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) framer: Framer,
    /// The element so far, and white space before it.
    buffer: Vec<u8>,
    /// The header's bytes: the namespaces that elements stand in.
    header: Vec<u8>,
}

impl Collector {
    pub(crate) fn new(limits: Limits) -> Self {
        Collector {
            framer: Framer::new(limits),
            buffer: Vec::new(),
            header: Vec::new(),
        }
    }

    pub(crate) fn restart(&mut self, limits: Limits) {
        self.framer.restart(limits);
        self.forget();
        self.header.clear();
    }

    /// Takes bytes up to the end of an element; tells how many, and what is over. The element is
    /// [`Collector::element`] then, until [`Collector::forget`].
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Kind>), Violation> {
        let frame = self.framer.frames(bytes).next().transpose()?;
        let taken = frame.map_or(bytes.len(), |frame| frame.end);
        self.buffer
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok((taken, frame.map(|frame| frame.kind)))
    }

    /// What has been taken and not forgotten.
    pub(crate) fn element(&self) -> &[u8] {
        &self.buffer
    }

    /// Wipes it: it may hold a password.
    pub(crate) fn forget(&mut self) {
        self.buffer.fill(0);
        self.buffer.clear();
    }

    /// Reads what has been taken as a header, and keeps it.
    pub(crate) fn read_header(&mut self) -> Result<StreamHeader, Violation> {
        let text = self.buffer.trim_ascii_start();
        let header = StreamHeader::read(text)?;
        self.header.clear();
        self.header.extend_from_slice(text);
        Ok(header)
    }

    /// Reads what has been taken as an element. The first node is the element itself.
    pub(crate) fn read_element(&self) -> Result<Vec<Node>, Violation> {
        tree::read(&self.header, self.element().trim_ascii_start())
    }
}
