//! One coding's reader: member after member, within limits, and with a name for whatever is wrong.

use std::io::{self, Read};
use std::rc::Rc;

use super::member::{self, Input, Member};
use super::{Coding, Tally};
use crate::error::{DataError, Position};
use crate::ingest::rows::Halt;

/// Below this the ratio does not count: a small body of equal lines is no bomb, and does no harm.
const RATIO_FREE_BYTES: u64 = 64 << 20;

/// One coding's reader.
pub(super) struct Layer {
    coding: Coding,
    window_log_max: u32,
    place: Place,
    members: u64,
    decoded: u64,
    budget: Budget,
}

enum Place {
    /// where a member begins or the data ends
    Between(Input),
    Inside(Box<dyn Member>),
    Ended,
    Broken,
}

impl Read for Layer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            self.place = match std::mem::replace(&mut self.place, Place::Broken) {
                Place::Between(mut input) => {
                    if input.fill_buf()?.is_empty() {
                        Place::Ended
                    } else if self.coding == Coding::Brotli && self.members > 0 {
                        return Err(self.corrupt("something follows its end"));
                    } else {
                        self.members += 1;
                        Place::Inside(member::begin(self.coding, input, self.window_log_max)?)
                    }
                }
                Place::Inside(mut member) => match member.read(out) {
                    Ok(0) => Place::Between(member.into_input()),
                    Ok(length) => {
                        self.place = Place::Inside(member);
                        self.decoded += length as u64;
                        return self.budget.check(self.decoded).map(|()| length);
                    }
                    Err(error) => return Err(self.explain(error)),
                },
                Place::Ended => {
                    self.place = Place::Ended;
                    return Ok(0);
                }
                Place::Broken => return Err(self.corrupt("read on after an error")),
            };
        }
    }
}

impl Layer {
    pub(super) fn new(coding: Coding, input: Input, window_log_max: u32, budget: Budget) -> Layer {
        Layer {
            coding,
            window_log_max,
            place: Place::Between(input),
            members: 0,
            decoded: 0,
            budget,
        }
    }

    /// What a decoder's error means. One that came up from below is passed on.
    #[cold]
    fn explain(&self, error: io::Error) -> io::Error {
        if error.get_ref().is_some_and(|cause| cause.is::<Stopped>()) {
            return error;
        }
        let (name, decoded) = (self.coding.name(), self.decoded);
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let reason = format!("the {name} data was cut short: it ends within a member, after {decoded} decoded bytes");
            return Stopped::wrap(DataError::malformed("truncated-encoding", reason, Position::default()).into());
        }
        let text = error.to_string();
        if text == member::ZSTD_WINDOW_TOO_LARGE {
            let limit = 1u64 << self.window_log_max;
            let reason = format!("the zstd window is larger than the limit of {limit} bytes: compress without --ultra or --long");
            return Stopped::wrap(DataError::OverLimit { code: "window-too-large", reason }.into());
        }
        self.corrupt(&text)
    }

    #[cold]
    fn corrupt(&self, what: &str) -> io::Error {
        let (name, decoded) = (self.coding.name(), self.decoded);
        let reason = format!("the {name} data is corrupt, after {decoded} decoded bytes: {what}");
        Stopped::wrap(DataError::malformed("corrupt-encoding", reason, Position::default()).into())
    }
}

/// What may come out of a body. Every layer is held to it, also one from which the next makes little again.
#[derive(Clone)]
pub(super) struct Budget {
    pub(super) bytes_max: u64,
    pub(super) ratio_max: u64,
    pub(super) tally: Rc<Tally>,
}

impl Budget {
    fn check(&self, decoded: u64) -> io::Result<()> {
        let (bytes_max, ratio_max) = (self.bytes_max, self.ratio_max);
        if decoded > bytes_max {
            let reason = format!("the body is decoded to more than the limit of {bytes_max} bytes");
            return Err(Stopped::wrap(DataError::OverLimit { code: "decoded-too-large", reason }.into()));
        }
        let received = self.tally.received.get();
        if decoded > RATIO_FREE_BYTES && decoded / ratio_max > received {
            let reason = format!("{received} bytes are decoded to {decoded}, and more than {ratio_max} times as many are not allowed");
            return Err(Stopped::wrap(DataError::OverLimit { code: "decoded-ratio-too-high", reason }.into()));
        }
        Ok(())
    }
}

/// A [`Halt`] on its way through readers that know only of I/O errors.
#[derive(Debug)]
pub(super) struct Stopped(Halt);

impl Stopped {
    pub(super) fn wrap(halt: Halt) -> io::Error {
        io::Error::other(Stopped(halt))
    }

    pub(super) fn unwrap(error: io::Error) -> Halt {
        let unexplained = |error: io::Error| DataError::malformed("corrupt-encoding", error.to_string(), Position::default()).into();
        error.downcast().map_or_else(unexplained, |Stopped(halt)| halt)
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl std::error::Error for Stopped {}
