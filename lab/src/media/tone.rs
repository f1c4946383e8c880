//! Tones as G.711 µ-law, and finding them again by the Goertzel algorithm.
//!
//! Each party of a call sends a tone of its own; what the other side hears is measured against it.
//! [`share`] tells which part of a signal's power sits at a frequency: near 1 for a pure tone of
//! that frequency, near 0 for silence, noise, ciphertext or another tone.

/// Samples a second, G.711 (RFC 3551 §4.5.14).
pub(crate) const RATE_HZ: u32 = 8000;
/// Samples in a packet of 20 ms.
pub(crate) const PACKET_SAMPLES: usize = 160;

/// An endless sine wave.
pub(crate) struct Tone {
    step: f64,
    phase: f64,
}

impl Tone {
    /// A tone of that frequency.
    pub(crate) fn new(hz: f64) -> Tone {
        Tone {
            step: std::f64::consts::TAU * hz / f64::from(RATE_HZ),
            phase: 0.0,
        }
    }

    /// The next packet's worth, µ-law.
    pub(crate) fn packet(&mut self) -> [u8; PACKET_SAMPLES] {
        let mut packet = [0; PACKET_SAMPLES];
        for byte in &mut packet {
            let sample = self.phase.sin() * 8000.0;
            *byte = encode(sample as i16);
            self.phase = (self.phase + self.step) % std::f64::consts::TAU;
        }
        packet
    }
}

/// A sample as µ-law (ITU-T G.711).
pub(crate) fn encode(sample: i16) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32_635;
    let negative = sample < 0;
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    let exponent = (0..8)
        .rev()
        .find(|e| magnitude & (0x80 << e) != 0)
        .unwrap_or(0);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    let code = ((exponent << 4) | mantissa) as u8 | if negative { 0x80 } else { 0 };
    !code
}

/// A µ-law byte as a sample.
pub(crate) fn decode(byte: u8) -> i16 {
    let code = !byte;
    let exponent = i32::from(code >> 4 & 7);
    let mantissa = i32::from(code & 0x0f);
    let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
    (if code & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }) as i16
}

/// The part of the signal's power at that frequency, 0 to 1; 0 for silence.
pub(crate) fn share(samples: &[i16], hz: f64) -> f64 {
    let count = samples.len() as f64;
    let energy: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    if samples.is_empty() || energy / count < 100.0 {
        return 0.0;
    }
    let coefficient = 2.0 * (std::f64::consts::TAU * hz / f64::from(RATE_HZ)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let now = f64::from(*sample) + coefficient * last - before;
        before = last;
        last = now;
    }
    let power = last * last + before * before - coefficient * last * before;
    (2.0 * power / (count * energy)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(hz: f64) -> Vec<i16> {
        let mut tone = Tone::new(hz);
        (0..25).flat_map(|_| tone.packet()).map(decode).collect()
    }

    #[test]
    fn mu_law_survives_a_round_trip() {
        for byte in 0..=255 {
            assert_eq!(encode(decode(byte)) & 0x7f, byte & 0x7f, "{byte}");
        }
        assert!((i32::from(decode(encode(1000))) - 1000).abs() < 40);
        assert!((i32::from(decode(encode(-20_000))) + 20_000).abs() < 600);
    }

    #[test]
    fn share_names_the_tone_and_no_other() {
        let samples = heard(440.0);
        assert!(share(&samples, 440.0) > 0.95);
        assert!(share(&samples, 880.0) < 0.05);
        assert!(share(&samples, 660.0) < 0.05);
    }

    #[test]
    fn share_of_silence_and_noise_is_small() {
        assert!(share(&[0; 4000], 440.0) < 0.01);
        let mut state = 1_u32;
        let noise: Vec<i16> = (0..4000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                decode((state >> 24) as u8)
            })
            .collect();
        assert!(share(&noise, 440.0) < 0.05);
    }
}
