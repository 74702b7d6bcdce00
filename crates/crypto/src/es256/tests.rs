use p256::ProjectivePoint;
use p256::elliptic_curve::sec1::ToSec1Point;

use super::*;

/// A repeatable source of scalars: SHA-256 of a counter.
fn scalar(seed: u64) -> Scalar {
    <Scalar as Reduce<FieldBytes>>::reduce(&Sha256::digest(seed.to_be_bytes()))
}

fn comb(mut builder: CombBuilder) -> Comb {
    while !builder.step() {}
    builder.finish()
}

fn coordinates(point: &ProjectivePoint) -> ([u8; 32], [u8; 32]) {
    let encoded = point.to_affine().to_sec1_point(false);
    let (_, coordinates) = encoded.as_bytes().split_first().unwrap();
    let (x, y) = coordinates.split_at(32);
    (x.try_into().unwrap(), y.try_into().unwrap())
}

fn comb_of(point: &ProjectivePoint) -> Comb {
    let (x, y) = coordinates(point);
    comb(begin_comb(&x, &y))
}

/// Returns scalars near the bounds of digits, half the order and the order.
fn edges() -> Vec<Scalar> {
    let powers = (0..256).map(|bit| Scalar::from(2_u64).pow_vartime(&U256::from_u64(bit)));
    let small = (0..4_u64).chain(126..131).chain(254..260).map(Scalar::from).collect::<Vec<_>>();
    let mut edges: Vec<Scalar> = small.clone();
    for power in powers.step_by(8).chain([Scalar::from(2_u64).invert().unwrap()]) {
        edges.extend(small.iter().flat_map(|near| [power + near, power - near]));
    }
    edges.extend(edges.clone().iter().map(|scalar| -scalar));
    edges
}

#[test]
fn multiples_are_those_of_p256() {
    let generator = comb(begin_generator());
    for k in edges().into_iter().chain((0..500).map(scalar)) {
        let mut sum = Sum::Infinity;
        add_multiple(&generator, &mut sum, k);
        assert_same(&sum, &(ProjectivePoint::GENERATOR * k));
    }
}

fn assert_same(sum: &Sum, expected: &ProjectivePoint) {
    use p256::elliptic_curve::group::Group;
    match sum.finite() {
        None => assert!(bool::from(expected.is_identity())),
        Some(sum) => {
            let (x, y) = coordinates(expected);
            assert!(sum.has_x(&x) && sum.has_y(&y));
        }
    }
}

/// With keys that are small multiples of the generator, the sums add equal and opposite points.
#[test]
fn sums_meet_equal_and_opposite_points() {
    let generator = comb(begin_generator());
    let (mut infinite, mut all) = (0, 0);
    for d in [1_u64, 2, 3, 127, 128, 129, 255, 256, 257, 65_536] {
        for d in [Scalar::from(d), -Scalar::from(d)] {
            let q = ProjectivePoint::GENERATOR * d;
            let key = comb_of(&q);
            let d_inverse = d.invert().unwrap();
            for u2 in (1..40_u64).map(Scalar::from).chain((0..5).map(scalar)) {
                // u1·G = u2·Q, u1·G = −u2·Q, one beside the first, and two others.
                for u1 in [
                    u2 * d,
                    -(u2 * d),
                    u2 * d + Scalar::ONE,
                    Scalar::from(256_u64) * u2,
                    u2 * d_inverse,
                ] {
                    let mut sum = Sum::Infinity;
                    add_multiple(&generator, &mut sum, u1);
                    add_multiple(&key, &mut sum, u2);
                    assert_same(&sum, &(ProjectivePoint::GENERATOR * u1 + q * u2));
                    infinite += u32::from(sum.finite().is_none());
                    all += 1;
                }
            }
        }
    }
    assert!(infinite > 500 && all > 4000, "{infinite} of {all}");
}

/// The x coordinate of the sum may be n or more; then r is x − n. The test makes such a signature
/// from the point.
#[test]
fn x_above_the_order_is_compared_modulo_it() {
    let generator = comb(begin_generator());
    // The point with the lowest x from n on. r = x − n must not be 0.
    let order = *NistP256::ORDER.as_ref();
    let point = (0..100_u64)
        .find_map(|off| {
            let x: [u8; 32] = order.checked_add(&U256::from_u64(off)).unwrap().to_be_bytes().into();
            let encoded = [[2].as_slice(), &x].concat();
            Some((off, p256::PublicKey::from_sec1_bytes(&encoded).ok()?.to_projective()))
        })
        .filter(|(off, _)| *off > 0)
        .unwrap();
    let (r, point) = (Scalar::from(point.0), point.1);
    // For any s and e, the key Q = r⁻¹·(s·R − e·G) accepts the signature.
    let (s, e) = (scalar(1), scalar(2));
    let q = (point * s - ProjectivePoint::GENERATOR * e) * r.invert().unwrap();
    let signature = [r.to_bytes(), s.to_bytes()].concat();
    let digest: [u8; 32] = e.to_bytes().into();
    assert!(verify_digest(&generator, &comb_of(&q), &digest, &signature));
    // A sum r + n of more than 256 bits is no x, and another r is refused.
    assert_eq!(plus_order(&[0xff; 32]), None);
    let other = [(r + Scalar::ONE).to_bytes(), s.to_bytes()].concat();
    assert!(!verify_digest(&generator, &comb_of(&q), &digest, &other));
}

#[test]
fn r_and_s_lie_between_zero_and_the_order() {
    let generator = comb(begin_generator());
    let order: [u8; 32] = NistP256::ORDER.as_ref().to_be_bytes().into();
    let one: [u8; 32] = Scalar::ONE.to_bytes().into();
    for (r, s) in [([0; 32], one), (one, [0; 32]), (order, one), (one, order), ([0xff; 32], one)] {
        assert!(!verify_digest(&generator, &generator, &[1; 32], &[r, s].concat()));
    }
    for length in [0, 63, 65] {
        assert!(!verify_digest(&generator, &generator, &[1; 32], &vec![1; length]));
    }
}
