//! A journal: a file of sealed records that grows at its end and is written anew now and then.
//!
//! ```text
//! file   = "CWJ1" id(16) *record
//! record = length(4) nonce(12) sealed(length)
//! ```
//!
//! `sealed` is AES-256-GCM over the payload under the key file's key, with `id` and the record's
//! number as associated data: whoever reads the disk learns lengths only, and a record that was
//! changed, moved within the file or taken from an older file (its `id` was another) is passed
//! over. Two things it cannot see: that the end was cut off, and that the whole file was put back
//! in an older state. What is stored must be harmless then, e.g. because it carries a date.
//!
//! **Crashes.** A record is one `write`: a process that is killed leaves all or a part of the last
//! one, and a part is cut off at the next start. [`Journal::replace`] writes beside and renames, so
//! it leaves the old file or the new one. [`Journal::sync`] is for loss of power alone.
//!
//! One process at a time; the data folder's lock sees to that. Bounds: [`PAYLOAD_MAX`] a record,
//! [`FILE_MAX`] a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base::Secret;

use crate::Error;

/// The longest payload, in bytes.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// The longest file, in bytes.
pub const FILE_MAX: u64 = 512 * 1024 * 1024;

const MAGIC: &[u8; 4] = b"CWJ1";
const HEAD: usize = MAGIC.len() + 16;
const RECORD_HEAD: usize = 4 + NONCE_LEN;

/// A file of sealed records.
pub struct Journal {
    path: PathBuf,
    seal: Seal,
    file: File,
    /// Records of the file, whatever state they are in.
    records: u64,
    /// Where the next one goes.
    bytes: u64,
}

/// What was found in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Records that are whole.
    pub good: u64,
    /// Records that were passed over: changed, moved, or sealed with another key.
    pub damaged: u64,
    /// Bytes at the end that are no record.
    pub cut_bytes: u64,
}

/// The key, and what binds records to their file.
struct Seal {
    key: Arc<LessSafeKey>,
    id: [u8; 16],
}

impl Journal {
    /// Opens a file, or makes it, for its owner alone; hands each payload to `each`, oldest first.
    /// Damage is no error: [`Found`] tells of it, and the end is cut off so that what is appended
    /// follows a whole record.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, made or written; [`Error::Seal`].
    pub fn open(
        path: &Path,
        key: &Secret<[u8; 32]>,
        each: impl FnMut(&[u8]),
    ) -> Result<(Journal, Found), Error> {
        let fault = |source| at(path, source);
        let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| Error::Seal)?;
        let mut seal = Seal {
            key: Arc::new(LessSafeKey::new(unbound)),
            id: [0; 16],
        };
        // What a crash left of a file that was never renamed.
        match std::fs::remove_file(beside(path)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(fault(e)),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = match file {
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            other => Some(other.map_err(fault)?),
        };
        let mut found = Found::default();
        if let Some(file) = file {
            let size = file.metadata().map_err(fault)?.len();
            if let Some(id) = file_id(&file).map_err(fault)? {
                seal.id = id;
                let mut journal = Journal {
                    path: path.to_owned(),
                    seal,
                    file,
                    records: 0,
                    bytes: size,
                };
                found = journal.scan(each)?;
                journal.records = found.good + found.damaged;
                journal.bytes = size - found.cut_bytes;
                if found.cut_bytes > 0 {
                    journal.file.set_len(journal.bytes).map_err(fault)?;
                }
                return Ok((journal, found));
            }
            found.cut_bytes = size;
        }
        let (file, bytes) = seal.write_new(path, std::iter::empty::<&[u8]>())?;
        let journal = Journal {
            path: path.to_owned(),
            seal,
            file,
            records: 0,
            bytes,
        };
        Ok((journal, found))
    }

    /// Adds a record at the end. It is in the operating system's hands when this returns, so the
    /// death of the process does not undo it; see [`Journal::sync`] for loss of power.
    ///
    /// # Errors
    /// [`Error`]; the journal is as it was before.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), Error> {
        let record = self.seal.record(self.records, payload)?;
        let end = self.bytes + record.len() as u64;
        if end > FILE_MAX {
            return Err(Error::Full(self.path.clone()));
        }
        // At its offset, not at the end: a part that a full disk left is written over.
        let written = self.file.write_all_at(&record, self.bytes);
        written.map_err(|source| at(&self.path, source))?;
        self.bytes = end;
        self.records += 1;
        Ok(())
    }

    /// Waits until all that was appended is on the disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        synced.map_err(|source| at(&self.path, source))
    }

    /// Hands each payload to `each`, oldest first.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read.
    pub fn read(&self, each: impl FnMut(&[u8])) -> Result<Found, Error> {
        self.scan(each)
    }

    /// Writes the file anew with these payloads alone, under a new `id`. On the disk when this
    /// returns.
    ///
    /// # Errors
    /// [`Error`]; the file is as it was before, or is the new one if only its folder could not be
    /// synced.
    pub fn replace<P: AsRef<[u8]>>(
        &mut self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<(), Error> {
        let mut seal = Seal {
            key: Arc::clone(&self.seal.key),
            id: [0; 16],
        };
        let mut records = 0;
        let counted = payloads.into_iter().inspect(|_| records += 1);
        let (file, bytes) = seal.write_new(&self.path, counted)?;
        (self.seal, self.file, self.records, self.bytes) = (seal, file, records, bytes);
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn scan(&self, mut each: impl FnMut(&[u8])) -> Result<Found, Error> {
        let fault = |source| at(&self.path, source);
        let mut input = BufReader::with_capacity(64 * 1024, At(&self.file, HEAD as u64));
        let mut found = Found::default();
        let mut place = HEAD as u64;
        while place < self.bytes {
            let Some(record) = next_record(&mut input, self.bytes - place).map_err(fault)? else {
                found.cut_bytes = self.bytes - place;
                break;
            };
            place += (RECORD_HEAD + record.1.len()) as u64;
            match self.seal.open(found.good + found.damaged, record) {
                Some(payload) => {
                    found.good += 1;
                    each(payload.expose());
                }
                None => found.damaged += 1,
            }
        }
        Ok(found)
    }
}

impl Seal {
    /// A record's bytes.
    fn record(&self, number: u64, payload: &[u8]) -> Result<Vec<u8>, Error> {
        if payload.len() > PAYLOAD_MAX {
            return Err(Error::TooLong(payload.len()));
        }
        let length = payload.len() + AES_256_GCM.tag_len();
        let nonce = random::<NONCE_LEN>()?;
        let mut record = Vec::with_capacity(RECORD_HEAD + length);
        record.extend_from_slice(&(length as u32).to_be_bytes());
        record.extend_from_slice(&nonce);
        record.extend_from_slice(payload);
        let (_, sealed) = record.split_at_mut(RECORD_HEAD);
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), self.aad(number));
        let tag = self.key.seal_in_place_separate_tag(nonce, aad, sealed);
        record.extend_from_slice(tag.map_err(|_| Error::Seal)?.as_ref());
        Ok(record)
    }

    /// The payload of a record, if it is whole and in its place.
    fn open(
        &self,
        number: u64,
        (nonce, mut sealed): ([u8; NONCE_LEN], Vec<u8>),
    ) -> Option<Secret<Vec<u8>>> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self
            .key
            .open_in_place(nonce, self.aad(number), &mut sealed)
            .map(|payload| payload.len());
        // What stays of a record that did not open is of no use to anybody.
        let length = opened.ok()?;
        sealed.truncate(length);
        Some(Secret::new(sealed))
    }

    fn aad(&self, number: u64) -> Aad<[u8; 24]> {
        let mut bytes = [0; 24];
        let (id, count) = bytes.split_at_mut(16);
        id.copy_from_slice(&self.id);
        count.copy_from_slice(&number.to_be_bytes());
        Aad::from(bytes)
    }

    /// Writes a file beside its place under a new `id`, and moves it there.
    fn write_new<P: AsRef<[u8]>>(
        &mut self,
        path: &Path,
        payloads: impl Iterator<Item = P>,
    ) -> Result<(File, u64), Error> {
        self.id = random()?;
        let fault = |source| at(path, source);
        let new = beside(path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(fault)?;
        let mut output = BufWriter::new(file);
        output.write_all(MAGIC).map_err(fault)?;
        output.write_all(&self.id).map_err(fault)?;
        let mut bytes = HEAD as u64;
        for (number, payload) in payloads.enumerate() {
            let record = self.record(number as u64, payload.as_ref())?;
            bytes += record.len() as u64;
            if bytes > FILE_MAX {
                return Err(Error::Full(path.to_owned()));
            }
            output.write_all(&record).map_err(fault)?;
        }
        let file = output.into_inner().map_err(|e| fault(e.into_error()))?;
        file.sync_all().map_err(fault)?;
        std::fs::rename(&new, path).map_err(fault)?;
        if let Some(folder) = path.parent() {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(fault)?;
        }
        Ok((file, bytes))
    }
}

/// Reads a file from an offset on, without moving its cursor.
struct At<'a>(&'a File, u64);

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(buffer, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

/// The `id` of a file, if it begins as a journal does.
fn file_id(file: &File) -> io::Result<Option<[u8; 16]>> {
    let mut head = [0; HEAD];
    match file.read_exact_at(&mut head, 0) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let id = head.strip_prefix(MAGIC.as_slice());
    Ok(id.and_then(|id| id.try_into().ok()))
}

/// The next record of a file with `left` bytes, or `None` if that is none.
fn next_record(input: &mut impl Read, left: u64) -> io::Result<Option<([u8; NONCE_LEN], Vec<u8>)>> {
    let (mut length, mut nonce) = ([0; 4], [0; NONCE_LEN]);
    if left < RECORD_HEAD as u64 {
        return Ok(None);
    }
    input.read_exact(&mut length)?;
    input.read_exact(&mut nonce)?;
    let length = u32::from_be_bytes(length) as usize;
    let longest = PAYLOAD_MAX + AES_256_GCM.tag_len();
    if length > longest || length as u64 > left - RECORD_HEAD as u64 {
        return Ok(None);
    }
    let mut sealed = vec![0; length];
    input.read_exact(&mut sealed)?;
    Ok(Some((nonce, sealed)))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Seal)?;
    Ok(bytes)
}

/// Where a file is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn at(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
