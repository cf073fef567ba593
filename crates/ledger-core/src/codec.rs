//! The only bytes: everything that is hashed, signed, stored or sent is encoded here.
//!
//! bincode with fixed-width little-endian integers; lengths are u64, enum tags u32. Decoding is strict: the length is
//! checked before anything is allocated, nothing may follow the value, and the value encoded again must give the
//! input. So one value has one encoding, and ids cannot be malleated.

/// For the derives of other crates: `#[bincode(crate = "qfzz_ledger_core::codec::bincode")]`.
pub use bincode;
use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::de::read::Reader as _;
use bincode::enc::write::Writer as _;
use bincode::error::{DecodeError, EncodeError};
pub use bincode::{Decode, Encode};

/// What decoding may claim in memory, in bytes.
///
/// bincode counts `length * size_of::<T>()`, which is up to 16 times the encoded length, and the largest input (an
/// answer of `sync`) has 2 MiB. An input's own length is checked before.
const MEMORY_LIMIT: usize = 32 * 1024 * 1024;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MEMORY_LIMIT>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<MEMORY_LIMIT>();

/// Decodes a type through another: what is read must pass the type's own rule.
macro_rules! decode_through {
    ($name:ty, $wire:ty, $make:expr, $why:expr) => {
        impl<C> bincode::Decode<C> for $name {
            fn decode<R: bincode::de::Decoder<Context = C>>(
                input: &mut R,
            ) -> Result<Self, bincode::error::DecodeError> {
                let make = $make;
                let checked: Option<Self> = make(<$wire>::decode(input)?);
                checked.ok_or(bincode::error::DecodeError::Other($why))
            }
        }
        bincode::impl_borrow_decode!($name);
    };
}
pub(crate) use decode_through;

/// Encodes an enum, each variant of one field, under tags that are not consecutive; the derive counts from 0.
macro_rules! tagged {
    ($name:ident { $($tag:literal => $variant:ident,)* }) => {
        impl bincode::Encode for $name {
            fn encode<E: bincode::enc::Encoder>(&self, output: &mut E) -> Result<(), bincode::error::EncodeError> {
                match self {
                    $(Self::$variant(value) => {
                        u32::encode(&$tag, output)?;
                        value.encode(output)
                    })*
                }
            }
        }

        impl<C> bincode::Decode<C> for $name {
            fn decode<R: bincode::de::Decoder<Context = C>>(
                input: &mut R,
            ) -> Result<Self, bincode::error::DecodeError> {
                match u32::decode(input)? {
                    $($tag => Ok(Self::$variant(bincode::Decode::decode(input)?)),)*
                    found => Err(bincode::error::DecodeError::UnexpectedVariant {
                        type_name: stringify!($name),
                        allowed: &bincode::error::AllowedEnumVariants::Allowed(&[$($tag),*]),
                        found,
                    }),
                }
            }
        }
        bincode::impl_borrow_decode!($name);
    };
}
pub(crate) use tagged;

/// Encodes a type as the text that it is, and decodes it through its `new`, without memory beside its own.
macro_rules! code_text {
    ($name:ty, $limit:expr, $why:expr) => {
        impl bincode::Encode for $name {
            fn encode<E: bincode::enc::Encoder>(&self, output: &mut E) -> Result<(), bincode::error::EncodeError> {
                bincode::Encode::encode(self.as_str(), output)
            }
        }
        impl<C> bincode::Decode<C> for $name {
            fn decode<R: bincode::de::Decoder<Context = C>>(
                input: &mut R,
            ) -> Result<Self, bincode::error::DecodeError> {
                let made = $crate::codec::decode_text(input, $limit, |text| <$name>::new(text))?;
                made.map_err(|_| bincode::error::DecodeError::Other($why))
            }
        }
        bincode::impl_borrow_decode!($name);
    };
}
pub(crate) use code_text;

/// Decodes a text of at most `limit` bytes, and makes a value of it where it lies.
pub(crate) fn decode_text<T>(
    input: &mut impl bincode::de::Decoder,
    limit: usize,
    make: impl FnOnce(&str) -> T,
) -> Result<T, DecodeError> {
    let length = u64::decode(input)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= limit);
    let length = length.ok_or(DecodeError::Other("a text above its limit"))?;
    input.claim_bytes_read(length)?;
    // Everything is decoded from memory, which can always be looked at before it is read.
    let bytes = input.reader().peek_read(length).ok_or(DecodeError::UnexpectedEnd { additional: length })?;
    let made = make(std::str::from_utf8(bytes).map_err(|inner| DecodeError::Utf8 { inner })?);
    input.reader().consume(length);
    Ok(made)
}

/// Why bytes are not the encoding of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than this kind of input may be.
    #[error("{length} bytes are more than the {limit} allowed")]
    TooLong {
        /// Bytes received.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A tag of an enum that this version does not know: a newer version may be in use.
    #[error("tag {tag} is unknown to this version")]
    UnknownTag {
        /// The tag found.
        tag: u32,
    },
    /// Not an encoding of such a value, or not the only one.
    #[error("not a well-formed encoding")]
    Malformed,
}

/// The one encoding of `value`.
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    bincode::encode_to_vec(value, CONFIG).expect("writing to memory cannot fail, and no type refuses to be encoded")
}

/// Adds the one encoding of `value` to `bytes`.
pub fn encode_onto<T: Encode>(value: &T, bytes: &mut Vec<u8>) {
    bincode::encode_into_writer(value, Appender(bytes), CONFIG)
        .expect("writing to memory cannot fail, and no type refuses to be encoded");
}

struct Appender<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The length of the one encoding of `value`, in bytes.
pub fn encoded_len<T: Encode>(value: &T) -> usize {
    let mut counter = Counter(0);
    bincode::encode_into_writer(value, &mut counter, CONFIG).expect("counting cannot fail");
    counter.0
}

struct Counter(usize);

impl bincode::enc::write::Writer for Counter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// Decodes the whole of `bytes`, which may be at most `limit` long.
///
/// # Errors
/// [`CodecError::TooLong`] before anything is allocated; [`CodecError::UnknownTag`] where a newer version may have
/// written it; [`CodecError::Malformed`] for everything else, trailing bytes and other encodings of the same value too.
pub fn decode<T: Encode + Decode<()>>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    let (value, rest) = decode_prefix(bytes, limit)?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::Malformed) }
}

/// Decodes the value that `bytes`, which may be at most `limit` long, begin with; as strictly as [`decode`], but anything
/// may follow it.
///
/// # Errors
/// As [`decode`].
pub fn decode_first<T: Encode + Decode<()>>(bytes: &[u8], limit: usize) -> Result<T, CodecError> {
    Ok(decode_prefix(bytes, limit)?.0)
}

/// The value that `bytes` begin with, and what follows it.
fn decode_prefix<T: Encode + Decode<()>>(bytes: &[u8], limit: usize) -> Result<(T, &[u8]), CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong { length: bytes.len(), limit });
    }
    let (value, used): (T, usize) = bincode::decode_from_slice(bytes, CONFIG).map_err(|failure| match failure {
        // An option is there or not: no version to come adds a third way.
        DecodeError::UnexpectedVariant { type_name, .. } if type_name.starts_with("core::option::Option<") => {
            CodecError::Malformed
        }
        DecodeError::UnexpectedVariant { found, .. } => CodecError::UnknownTag { tag: found },
        _ => CodecError::Malformed,
    })?;
    let (encoding, rest) = bytes.split_at_checked(used).ok_or(CodecError::Malformed)?;
    let mut compare = Compare(encoding);
    bincode::encode_into_writer(&value, &mut compare, CONFIG).map_err(|_| CodecError::Malformed)?;
    if compare.0.is_empty() { Ok((value, rest)) } else { Err(CodecError::Malformed) }
}

/// An encoding that is there already: it is written as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(Vec<u8>);

impl Encoded {
    /// The one encoding of `value`.
    pub fn of<T: Encode>(value: &T) -> Self {
        Self(encode(value))
    }

    /// These bytes, which are the encoding of a value.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Encode for Encoded {
    fn encode<E: bincode::enc::Encoder>(&self, output: &mut E) -> Result<(), EncodeError> {
        output.writer().write(&self.0)
    }
}

/// Compares what is written with what is expected, without a second copy.
struct Compare<'a>(&'a [u8]);

impl bincode::enc::write::Writer for Compare<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0 = self.0.strip_prefix(bytes).ok_or(EncodeError::Other("differs"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    enum Sample {
        Numbers(Vec<u16>),
        Flag(bool),
    }

    #[test]
    fn a_value_has_one_encoding_and_it_is_fixed_width_little_endian() {
        let bytes = encode(&Sample::Numbers(vec![1, 258]));
        assert_eq!(bytes, [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1]);
        assert_eq!(encoded_len(&Sample::Numbers(vec![1, 258])), bytes.len());
        assert_eq!(decode(&bytes, 16), Ok(Sample::Numbers(vec![1, 258])));
    }

    #[test]
    fn an_encoding_that_is_there_already_is_written_as_it_is() {
        let samples = [Sample::Numbers(vec![1, 258]), Sample::Flag(true)];
        let encoded: Vec<Encoded> = samples.iter().map(Encoded::of).collect();
        assert_eq!(encode(&encoded), encode(&Vec::from(samples)));
    }

    #[test]
    fn what_a_longer_input_begins_with_is_read_as_strictly() {
        let bytes = [&encode(&Sample::Flag(true))[..], &[7; 9]].concat();
        assert_eq!(decode_first(&bytes, 14), Ok(Sample::Flag(true)));
        assert_eq!(decode_first::<Sample>(&bytes, 13), Err(CodecError::TooLong { length: 14, limit: 13 }));
        assert_eq!(decode_first::<Sample>(&bytes[..4], 14), Err(CodecError::Malformed));
        assert_eq!(decode_first::<Sample>(&[1, 0, 0, 0, 2, 7], 14), Err(CodecError::Malformed));
        assert_eq!(decode_first::<Sample>(&bytes[5..], 14), Err(CodecError::UnknownTag { tag: 0x0707_0707 }));
    }

    #[test]
    fn what_is_not_that_encoding_is_refused() {
        let bytes = encode(&Sample::Flag(true));
        assert_eq!(decode::<Sample>(&bytes, 4), Err(CodecError::TooLong { length: 5, limit: 4 }));
        assert_eq!(decode::<Sample>(&[&bytes[..], &[0]].concat(), 99), Err(CodecError::Malformed));
        assert_eq!(decode::<Sample>(&bytes[..4], 99), Err(CodecError::Malformed));
        assert_eq!(decode::<Sample>(&[1, 0, 0, 0, 2], 99), Err(CodecError::Malformed));
        assert_eq!(decode::<Sample>(&[7, 0, 0, 0], 99), Err(CodecError::UnknownTag { tag: 7 }));
    }

    #[test]
    fn a_length_that_was_only_claimed_allocates_nothing() {
        let claimed = [&[0; 4][..], &(1u64 << 40).to_le_bytes(), &[0; 8]].concat();
        assert_eq!(decode::<Sample>(&claimed, 99), Err(CodecError::Malformed));
    }
}
