//! CPace against every ristretto255 vector of draft-irtf-cfrg-cpace-21 for initiator and responder,
//! and against another implementation.
//!
//! `vectors/cpace_ristretto255_sha512.json` holds them as the draft prints them, in hex.
// A failed expectation is a failed test, in the helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;

use pakery_cpace::{CpaceInitiator, CpaceMode, CpaceResponder};
use pakery_crypto::CpaceRistretto255;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use serde::Deserialize;
use sesame::proto::cpace::{self, CpaceError, Element, Isk, Share};
use sha2::{Digest, Sha512};

#[derive(Deserialize)]
struct Vectors {
    prepend_len: Vec<PrependLen>,
    lv_cat: Vec<LvCat>,
    transcript_ir: Vec<Transcript>,
    generator: Generator,
    run: Run,
    valid: Valid,
    invalid: Invalid,
}

#[derive(Deserialize)]
struct PrependLen {
    data: Hex,
    out: Hex,
}

#[derive(Deserialize)]
struct LvCat {
    parts: Vec<Hex>,
    out: Hex,
}

#[derive(Deserialize)]
struct Transcript {
    ya: Hex,
    ada: Hex,
    yb: Hex,
    adb: Hex,
    out: Hex,
}

#[derive(Deserialize)]
struct Generator {
    prs: Hex,
    ci: Hex,
    sid: Hex,
    dsi: Hex,
    block: usize,
    padding: usize,
    generator_string: Hex,
    hash: Hex,
    g: Hex,
}

#[derive(Deserialize)]
struct Run {
    prs: Hex,
    ci: Hex,
    sid: Hex,
    ya: Hex,
    ada: Hex,
    public_a: Hex,
    yb: Hex,
    adb: Hex,
    public_b: Hex,
    k: Hex,
    transcript_ir: Hex,
    dsi_isk: Hex,
    isk_input: Hex,
    isk_ir: Hex,
    sid_output_ir: Hex,
}

#[derive(Deserialize)]
struct Valid {
    s: Hex,
    x: Hex,
    scalar_mult: Hex,
    scalar_mult_vfy: Hex,
}

#[derive(Deserialize)]
struct Invalid {
    s: Hex,
    y1: Hex,
    y2: Hex,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Hex(Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let pairs = (0..text.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Hex {
    fn array<const N: usize>(&self) -> &[u8; N] {
        self.0.as_slice().try_into().unwrap()
    }
}

/// Draws what it was given, once.
struct Drawn<'a>(&'a [u8; 32]);

impl TryRng for Drawn<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("a scalar is drawn as bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("a scalar is drawn as bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(self.0);
        Ok(())
    }
}

impl TryCryptoRng for Drawn<'_> {}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/cpace_ristretto255_sha512.json")).unwrap()
}

fn shares(run: &Run) -> (Share, Share) {
    let share = |scalar: &Hex| {
        Share::new(
            &run.prs.0,
            &run.ci.0,
            &run.sid.0,
            &mut Drawn(scalar.array()),
        )
    };
    (share(&run.ya), share(&run.yb))
}

#[test]
fn strings() {
    let vectors = vectors();
    assert_eq!(vectors.prepend_len.len(), 4);
    for case in &vectors.prepend_len {
        assert_eq!(*cpace::prepend_len(&case.data.0), case.out.0);
    }
    assert_eq!(vectors.lv_cat.len(), 1);
    for case in &vectors.lv_cat {
        let parts: Vec<&[u8]> = case.parts.iter().map(|part| part.0.as_slice()).collect();
        assert_eq!(*cpace::lv_cat(&parts), case.out.0);
    }
    assert_eq!(vectors.transcript_ir.len(), 2);
    for case in &vectors.transcript_ir {
        let transcript = cpace::transcript_ir(&case.ya.0, &case.ada.0, &case.yb.0, &case.adb.0);
        assert_eq!(*transcript, case.out.0);
    }
}

#[test]
fn generator() {
    let case = vectors().generator;
    assert_eq!(
        (cpace::DSI, cpace::HASH_BLOCK),
        (case.dsi.0.as_slice(), case.block)
    );
    let text = cpace::generator_string(&case.prs.0, &case.ci.0, &case.sid.0);
    assert_eq!(*text, case.generator_string.0);
    let zeros = &[0; cpace::HASH_BLOCK][..case.padding];
    assert_eq!(
        text,
        cpace::lv_cat(&[&case.dsi.0, &case.prs.0, zeros, &case.ci.0, &case.sid.0])
    );
    assert_eq!(Sha512::digest(&*text).as_slice(), case.hash.0);
    assert_eq!(
        *cpace::calculate_generator(&case.prs.0, &case.ci.0, &case.sid.0).encode(),
        *case.g.array()
    );
}

#[test]
fn messages() {
    let run = vectors().run;
    let (a, b) = shares(&run);
    assert_eq!(a.public(), run.public_a.array());
    assert_eq!(b.public(), run.public_b.array());
}

#[test]
fn shared_secret() {
    let run = vectors().run;
    let (at_a, at_b) = (
        cpace::scalar_mult_vfy(run.ya.array(), run.public_b.array()),
        cpace::scalar_mult_vfy(run.yb.array(), run.public_a.array()),
    );
    assert_eq!(*at_a.unwrap(), *run.k.array());
    assert_eq!(*at_b.unwrap(), *run.k.array());
}

#[test]
fn session_key() {
    let run = vectors().run;
    let (ya, ada, yb, adb) = (&run.public_a.0, &run.ada.0, &run.public_b.0, &run.adb.0);
    let transcript = cpace::transcript_ir(ya, ada, yb, adb);
    assert_eq!(*transcript, run.transcript_ir.0);
    assert_eq!(cpace::DSI_ISK, run.dsi_isk.0);
    let input = [
        &cpace::lv_cat(&[cpace::DSI_ISK, &run.sid.0, &run.k.0])[..],
        &transcript,
    ]
    .concat();
    assert_eq!(input, run.isk_input.0);
    assert_eq!(
        Isk::derive(&run.sid.0, run.k.array(), &transcript).expose(),
        run.isk_ir.array()
    );
    let sid_output = Sha512::new()
        .chain_update(b"CPaceSidOutput")
        .chain_update(&*transcript)
        .finalize();
    assert_eq!(sid_output.as_slice(), run.sid_output_ir.0);
}

#[test]
fn whole_run() {
    let run = vectors().run;
    let (a, b) = shares(&run);
    let at_a = a
        .finish_initiator(run.public_b.array(), &run.ada.0, &run.adb.0)
        .unwrap();
    let at_b = b
        .finish_responder(run.public_a.array(), &run.ada.0, &run.adb.0)
        .unwrap();
    assert_eq!(at_a.expose(), run.isk_ir.array());
    assert_eq!(at_b.expose(), run.isk_ir.array());
}

// The draft has no vectors for the tags; these are Python's hashlib and hmac on the run above.
#[test]
fn tags() {
    let run = vectors().run;
    let isk = Isk::derive(&run.sid.0, run.k.array(), &run.transcript_ir.0);
    let (ya, yb) = (run.public_a.array(), run.public_b.array());
    let tags = isk.tags(&run.sid.0, ya, &run.ada.0, yb, &run.adb.0);
    let hex = |text: &str| Hex::try_from(text.to_owned()).unwrap();
    let ta = hex(concat!(
        "30478d28d83ae3b214295e91f4a3eb62999a8ed94575075db4a7d3bc3e4d26f1",
        "6c51adba12dc7771372637a46b5134e0937cddd7d820bfdd83be335e339eb57a"
    ));
    let tb = hex(concat!(
        "e927a7da291676f8878caae9cb70407d2f14117e6f9ff9adcfda797c4bcf2bd2",
        "fefd2ca3f2ddcce81b7386996c895b2f359010cc92069d5ff4ad49a977de79a6"
    ));
    assert!(tags.verify_a(ta.array()) && tags.verify_b(tb.array()));
    assert!(!tags.verify_a(tb.array()) && !tags.verify_b(ta.array()));
}

#[test]
fn valid_element() {
    let case = vectors().valid;
    let element = Element::decode(case.x.array()).unwrap();
    assert_eq!(*element.encode(), *case.x.array());
    assert_eq!(
        cpace::scalar_mult(case.s.array(), &element),
        *case.scalar_mult.array()
    );
    assert_eq!(
        *cpace::scalar_mult_vfy(case.s.array(), case.x.array()).unwrap(),
        *case.scalar_mult_vfy.array()
    );
}

#[test]
fn invalid_elements_end_the_run() {
    let Vectors { run, invalid, .. } = vectors();
    for bad in [&invalid.y1, &invalid.y2] {
        let refused = cpace::scalar_mult_vfy(invalid.s.array(), bad.array());
        assert_eq!(refused.err(), Some(CpaceError::BadShare));
        let (a, b) = shares(&run);
        let (ada, adb) = (&run.ada.0, &run.adb.0);
        assert_eq!(
            a.finish_initiator(bad.array(), ada, adb).err(),
            Some(CpaceError::BadShare)
        );
        assert_eq!(
            b.finish_responder(bad.array(), ada, adb).err(),
            Some(CpaceError::BadShare)
        );
    }
}

#[test]
fn another_implementation_agrees_in_either_role() {
    let mut rng = ChaCha20Rng::seed_from_u64(255);
    for length in [0, 1, 16, 32, 107, 108, 109, 127, 128, 300, 16_500] {
        let [prs, ci, sid, ada, adb] = [(); 5].map(|()| {
            let mut input = vec![0; length];
            rng.fill_bytes(&mut input);
            input
        });
        let mode = CpaceMode::InitiatorResponder;

        let ours = Share::new(&prs, &ci, &sid, &mut rng);
        let (yb, theirs) = CpaceResponder::<CpaceRistretto255>::respond(
            ours.public(),
            &prs,
            &ci,
            &sid,
            &ada,
            &adb,
            mode,
            &mut rng,
        )
        .unwrap();
        let isk = ours
            .finish_initiator(&yb.try_into().unwrap(), &ada, &adb)
            .unwrap();
        assert_eq!(isk.expose(), theirs.isk.as_bytes(), "responder, {length}");

        let ours = Share::new(&prs, &ci, &sid, &mut rng);
        let (ya, theirs) =
            CpaceInitiator::<CpaceRistretto255>::start(&prs, &ci, &sid, &ada, &mut rng).unwrap();
        let theirs = theirs.finish(ours.public(), &adb, mode).unwrap();
        let isk = ours
            .finish_responder(&ya.try_into().unwrap(), &ada, &adb)
            .unwrap();
        assert_eq!(isk.expose(), theirs.isk.as_bytes(), "initiator, {length}");
    }
}
