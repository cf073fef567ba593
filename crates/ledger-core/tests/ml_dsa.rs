//! ML-DSA-65: NIST's vectors, a second implementation, and what this crate makes of it.

use fips204::ml_dsa_65;
use fips204::traits::{KeyGen as _, SerDes as _, Signer as _, Verifier as _};
use ml_dsa::{B32, EncodedVerifyingKey, MlDsa65, Signature as MlDsaSignature, SigningKey, VerifyingKey};
use proptest::prelude::*;
use qfzz_ledger_core::crypto::{ED25519_SIGNATURE_BYTES, Signature, SignatureScheme, StationKey, Tag, TaggedHash};
use qfzz_ledger_core::ids::FederationId;
use qfzz_ledger_core::ml_dsa::{ML_DSA_KEY_BYTES, ML_DSA_SIGNATURE_BYTES, MlDsaKey};
use serde_json::Value;

/// Some of the ACVP server's tests of the parameter set ML-DSA-65: key generation, deterministic signing and
/// verification, by the internal interface (algorithms 6, 7 and 8).
fn acvp(mode: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("fips204/acvp.json")).expect("JSON");
    all[mode].clone()
}

fn tests(group: &Value) -> &[Value] {
    group["tests"].as_array().expect("a list")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("hex digits")).expect("hex digits")
}

fn seed(value: &Value) -> [u8; 32] {
    bytes(value).try_into().expect("32 bytes")
}

/// The ML-DSA seed of a station with this seed.
fn ml_dsa_seed(seed: [u8; 32]) -> [u8; 32] {
    let station = StationKey::from_seed(seed).station();
    TaggedHash::new(Tag::MlDsaSeed, &FederationId::ZERO, &[station.as_bytes()]).hash(&[&seed])
}

#[test]
fn keys_are_those_of_the_acvp_vectors() {
    let group = acvp("keyGen");
    assert_eq!(tests(&group).len(), 3);
    for test in tests(&group) {
        let key = SigningKey::<MlDsa65>::from_seed(&seed(&test["seed"]).into());
        assert_eq!(key.expanded_key().verifying_key().encode()[..], bytes(&test["pk"]), "{}", test["tcId"]);
        #[expect(deprecated, reason = "the vectors hold expanded keys")]
        let expanded = key.expanded_key().to_expanded();
        assert_eq!(expanded[..], bytes(&test["sk"]), "{}", test["tcId"]);
    }
}

#[test]
fn deterministic_signatures_are_those_of_the_acvp_vectors() {
    let group = acvp("sigGen");
    assert_eq!(tests(&group).len(), 3);
    for test in tests(&group) {
        let encoded = bytes(&test["sk"]).as_slice().try_into().expect("the length of a key");
        #[expect(deprecated, reason = "the vectors hold expanded keys")]
        let key = ml_dsa::ExpandedSigningKey::<MlDsa65>::from_expanded(&encoded);
        let signature = key.sign_internal(&[&bytes(&test["message"])], &B32::default());
        assert_eq!(signature.encode()[..], bytes(&test["signature"]), "{}", test["tcId"]);
    }
}

#[test]
fn what_the_acvp_vectors_refuse_is_refused() {
    let group = acvp("sigVer");
    let encoded = EncodedVerifyingKey::<MlDsa65>::try_from(&bytes(&group["pk"])[..]).expect("a key's length");
    let key = VerifyingKey::<MlDsa65>::decode(&encoded);
    let mut outcomes = Vec::new();
    for test in tests(&group) {
        let signature = MlDsaSignature::<MlDsa65>::try_from(&bytes(&test["signature"])[..]);
        let verifies = signature.is_ok_and(|signature| key.verify_internal(&bytes(&test["message"]), &signature));
        assert_eq!(Some(verifies), test["testPassed"].as_bool(), "{}: {}", test["tcId"], test["reason"]);
        outcomes.push(verifies);
    }
    assert_eq!(outcomes, [false, false, false, false, true, true]);
}

#[test]
fn a_station_signs_by_the_pure_variant_with_the_empty_context() {
    let (key, digest) = (StationKey::from_seed([1; 32]), [9; 32]);
    let signature = key.sign(SignatureScheme::Hybrid, &digest);
    let internal = SigningKey::<MlDsa65>::from_seed(&ml_dsa_seed([1; 32]).into());
    // Algorithm 2: a zero for the pure variant, the length of the context, the message.
    let expected = internal.expanded_key().sign_internal(&[&[0, 0], &digest], &B32::default());
    assert_eq!(signature.as_bytes()[ED25519_SIGNATURE_BYTES..], expected.encode()[..]);
}

/// The values were made by a third implementation, dilithium-py.
#[test]
fn the_key_of_a_seed_its_hash_and_its_signature_are_frozen() {
    let key = StationKey::from_seed([1; 32]);
    let hash = |bytes: &[u8]| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes));
    assert_eq!(hex::encode(ml_dsa_seed([1; 32])), "bbd34c9b1a61f27dd9d27861da1ab9746cfce8dc73fa563c203721ad99413a77");
    assert_eq!(hash(key.ml_dsa_key().as_bytes()), "17f0b64144920844344b54c854dfcd1f96b0f655215670a41c36daf278dd44d8");
    assert_eq!(
        hex::encode(key.ml_dsa_key().hash()),
        "c9b9904bcdf826a26ef3f21608d05913bc6dd17c2445bdbe81a4324f699883fc"
    );
    let signature = key.sign(SignatureScheme::Hybrid, &[9; 32]);
    assert_eq!(
        hash(&signature.as_bytes()[ED25519_SIGNATURE_BYTES..]),
        "2004992813fde981e362c85a0e6d4b0e493421bad64bd97358203d40b968d420"
    );
}

#[test]
fn each_station_has_a_key_of_its_own_and_only_the_lengths_of_fips_204_are_taken() {
    let [one, other] = [1, 2].map(|number| StationKey::from_seed([number; 32]).ml_dsa_key().clone());
    assert_ne!(one, other);
    assert_ne!(one.hash(), other.hash());
    for length in [0, ML_DSA_KEY_BYTES - 1, ML_DSA_KEY_BYTES + 1] {
        assert_eq!(MlDsaKey::from_bytes(&vec![1; length]), None, "{length}");
    }
    assert_eq!(MlDsaKey::from_bytes(one.as_bytes()), Some(one));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_second_implementation_gives_equal_bytes_and_verifies(station in any::<[u8; 32]>(), digest in any::<[u8; 32]>()) {
        let key = StationKey::from_seed(station);
        let signature = key.sign(SignatureScheme::Hybrid, &digest);
        let (public, secret) = ml_dsa_65::KG::keygen_from_seed(&ml_dsa_seed(station));
        prop_assert_eq!(&public.clone().into_bytes()[..], &key.ml_dsa_key().as_bytes()[..]);
        let theirs = secret.try_sign_with_seed(&[0; 32], &digest, &[]).expect("the context is empty");
        prop_assert_eq!(&theirs[..], &signature.as_bytes()[ED25519_SIGNATURE_BYTES..]);
        prop_assert!(public.verify(&digest, &theirs, &[]));
        prop_assert!(signature.ml_dsa_verifies(key.ml_dsa_key(), &digest));
    }

    #[test]
    fn a_flipped_bit_of_signature_digest_or_key_fails_and_so_says_the_second_implementation(
        place in 0..ML_DSA_SIGNATURE_BYTES,
        bit in 0..8_u8,
        key_place in 0..ML_DSA_KEY_BYTES,
    ) {
        let (scheme, digest) = (SignatureScheme::Hybrid, [9; 32]);
        let key = StationKey::from_seed([1; 32]);
        let good = key.sign(scheme, &digest);
        let flipped = |at: usize| {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] ^= 1_u8 << bit;
            Signature::from_bytes(bytes)
        };
        let spoilt = flipped(ED25519_SIGNATURE_BYTES + place);
        prop_assert!(spoilt.ed25519_verifies(scheme, &key.station(), &digest), "the other part is whole");
        prop_assert!(!spoilt.ml_dsa_verifies(key.ml_dsa_key(), &digest));
        let part = spoilt.as_bytes()[ED25519_SIGNATURE_BYTES..].try_into().expect("the length");
        let public = ml_dsa_65::PublicKey::try_from_bytes(*key.ml_dsa_key().as_bytes()).expect("a key");
        prop_assert!(!public.verify(&digest, &part, &[]));
        prop_assert!(!flipped(place % ED25519_SIGNATURE_BYTES).ed25519_verifies(scheme, &key.station(), &digest));
        let mut other = *key.ml_dsa_key().as_bytes();
        other[key_place] ^= 1_u8 << bit;
        prop_assert!(!good.ml_dsa_verifies(&MlDsaKey::from_bytes(&other).expect("the length"), &digest));
        prop_assert!(!good.ml_dsa_verifies(key.ml_dsa_key(), &[8; 32]));
    }
}
