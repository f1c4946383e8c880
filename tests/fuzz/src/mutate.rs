//! Inputs made from inputs, from a seed.

use base::Rng;

/// An input is not grown beyond this many bytes.
const BYTES_MAX: usize = 64 * 1024;
/// Numbers that programs stumble over.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "99999999999999999999999999",
];
/// Bytes that mean something to one reader or another.
const BYTES: &[u8] = b"\0\r\n\t \"'<>;:,=@%/\\[]{}()?&#*+-.\x7f\x80\xc3\xff";

/// Changes `input` in a few places. `others` lend pieces, `words` are put in.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str]) {
    for _ in 0..=below(rng, 4) {
        once(rng, input, others, words);
    }
    input.truncate(BYTES_MAX);
}

fn once(rng: &mut Rng, input: &mut Vec<u8>, others: &[Vec<u8>], words: &[&str]) {
    let at = below(rng, input.len() + 1);
    match below(rng, 9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << below(rng, 8);
            }
        }
        1 => insert(input, at, &[BYTES[below(rng, BYTES.len())]]),
        2 => remove(input, at, 1),
        3 => {
            let length = below(rng, 32);
            remove(input, at, length);
        }
        4 => {
            let end = (at + below(rng, 48)).min(input.len());
            let piece = input[at..end].to_vec();
            let times = 1 + below(rng, 3) * below(rng, 40);
            let to = below(rng, input.len() + 1);
            insert(input, to, &piece.repeat(times));
        }
        5 => input.truncate(at),
        6 => {
            if let Some(other) = others.get(below(rng, others.len().max(1))) {
                let from = below(rng, other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
        7 => number(rng, input, at),
        _ => {
            let word = words
                .get(below(rng, words.len().max(1)))
                .copied()
                .unwrap_or("\0\0\0\0");
            insert(input, at, word.as_bytes());
        }
    }
}

/// Puts another number in the place of the next one.
fn number(rng: &mut Rng, input: &mut Vec<u8>, at: usize) {
    let number = NUMBERS[below(rng, NUMBERS.len())].as_bytes();
    let digits = |b: &u8| b.is_ascii_digit();
    let Some(start) = input[at..]
        .iter()
        .position(digits)
        .map(|offset| at + offset)
    else {
        return insert(input, at, number);
    };
    let length = input[start..].iter().take_while(|b| digits(b)).count();
    input.splice(start..start + length, number.iter().copied());
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let at = at.min(input.len());
    input.splice(at..at, bytes.iter().copied());
}

fn remove(input: &mut Vec<u8>, at: usize, length: usize) {
    let end = (at + length).min(input.len());
    input.drain(at.min(end)..end);
}

/// A number from 0 to `limit` - 1.
fn below(rng: &mut Rng, limit: usize) -> usize {
    rng.below(limit.max(1) as u64) as usize
}
