//! Protocol Buffers' wire format, walked without copying.

/// The bytes are no well-formed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a well-formed protobuf message")]
pub(crate) struct Malformed;

/// One field's raw value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed) }
    }

    pub(super) fn text(self) -> Result<String, Malformed> {
        // Senders in languages with byte strings do send broken UTF-8; the rest of the batch is
        // worth more than the broken letter.
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    pub(super) fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => Ok(value),
            Self::Fixed32(value) => Ok(value.into()),
            Self::Bytes(_) => Err(Malformed),
        }
    }

    pub(super) fn double(self) -> Result<f64, Malformed> {
        if let Self::Fixed64(bits) = self { Ok(f64::from_bits(bits)) } else { Err(Malformed) }
    }

    /// A nanosecond time; what does not fit (after the year 2262) is cut to what does.
    pub(super) fn nanos(self) -> Result<i64, Malformed> {
        self.number().map(|value| i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A repeated 64-bit number, packed or not.
    pub(super) fn append_fixed64(self, into: &mut Vec<u64>) -> Result<(), Malformed> {
        match self {
            Self::Fixed64(value) => into.push(value),
            Self::Bytes(bytes) => {
                let (words, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(Malformed);
                }
                into.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// A repeated number of variable length, packed or not.
    pub(super) fn append_varints(self, into: &mut Vec<u64>) -> Result<(), Malformed> {
        match self {
            Self::Varint(value) => into.push(value),
            Self::Bytes(bytes) => {
                let mut packed = Fields::new(bytes);
                while !packed.rest.is_empty() {
                    into.push(packed.varint()?);
                }
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

/// The fields of one message, in the order they were sent.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn read(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Malformed)?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| Malformed)?)),
            _ => return Err(Malformed),
        };
        Ok((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

pub(super) fn put_varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    crate::model::codec::put_u64(out, number << 3);
    crate::model::codec::put_u64(out, value);
}

/// A length-delimited field: text, bytes or a message.
pub(super) fn put_text_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    crate::model::codec::put_u64(out, number << 3 | 2);
    crate::model::codec::put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}
