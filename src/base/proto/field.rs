//! The fields of what travels in memory files, launches and settings of gateways: how each type is written and read. Numbers are little-endian; what has no fixed length has its
//! length in front, as 32 bits.

use crate::Duty;
use crate::codec::{DecodeError, Reader, put};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// A part of it.
pub(crate) trait Field {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it from the front.
    fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError>
    where
        Self: Sized;
}

/// A struct whose fields are written and read in the order of their declaration.
macro_rules! record {
    ($(#[$attribute:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$about])* pub $field: $type,)*
        }

        impl Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }

            fn take(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok($name { $($field: Field::take(from)?,)* })
            }
        }
    };
}
pub(crate) use record;

impl Field for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn take(from: &mut Reader<'_>) -> Result<u8, DecodeError> {
        from.u8()
    }
}

impl Field for u16 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<u16, DecodeError> {
        from.u16()
    }
}

impl Field for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<u32, DecodeError> {
        from.u32()
    }
}

impl Field for i32 {
    fn put(&self, out: &mut Vec<u8>) {
        self.cast_unsigned().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<i32, DecodeError> {
        Ok(from.u32()?.cast_signed())
    }
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<u64, DecodeError> {
        from.u64()
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push((*self).into());
    }

    fn take(from: &mut Reader<'_>) -> Result<bool, DecodeError> {
        from.flag()
    }
}

impl Field for Duty {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn take(from: &mut Reader<'_>) -> Result<Duty, DecodeError> {
        Duty::from_tag(from.u8()?)
    }
}

/// Whole seconds.
impl Field for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_secs().put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Duration, DecodeError> {
        from.u64().map(Duration::from_secs)
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Reader<'_>) -> Result<Option<T>, DecodeError> {
        if from.flag()? { T::take(from).map(Some) } else { Ok(None) }
    }
}

impl Field for Vec<u32> {
    fn put(&self, out: &mut Vec<u8>) {
        length(self.len()).put(out);
        self.iter().for_each(|number| number.put(out));
    }

    fn take(from: &mut Reader<'_>) -> Result<Vec<u32>, DecodeError> {
        // Each element takes bytes, so the number of elements is bounded by the input.
        (0..from.u32()?).map(|_| from.u32()).collect()
    }
}

impl Field for PathBuf {
    fn put(&self, out: &mut Vec<u8>) {
        put(out, self.as_os_str().as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<PathBuf, DecodeError> {
        // Not longer than the input.
        from.bytes(usize::MAX).map(|bytes| OsString::from_vec(bytes.to_vec()).into())
    }
}

impl Field for String {
    fn put(&self, out: &mut Vec<u8>) {
        put(out, self.as_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Result<String, DecodeError> {
        from.text(usize::MAX)
    }
}

/// A string of bytes.
impl Field for Vec<u8> {
    fn put(&self, out: &mut Vec<u8>) {
        put(out, self);
    }

    fn take(from: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
        from.bytes(usize::MAX).map(<[u8]>::to_vec)
    }
}

/// Reads something that is all there is. Total: every byte string gives it or an error.
///
/// # Errors
/// See [`DecodeError`]; trailing bytes are an error.
pub(crate) fn whole<T: Field>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut from = Reader(bytes);
    let value = T::take(&mut from)?;
    from.end()?;
    Ok(value)
}

/// The bytes of it.
pub(crate) fn encoded(value: &impl Field) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// Lengths come from settings, which are read from files of far less than 4 GiB. A longer one would not decode.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
