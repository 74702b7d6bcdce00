//! Any bytes as a compressed status list.
#![no_main]

use edgepass_status_list::list::Bits;
use edgepass_status_list::{StatusList, Statuses};
use libfuzzer_sys::fuzz_target;

const CAP: usize = 1 << 16;

fuzz_target!(|input: (u8, &[u8], u64)| {
    let (bits, compressed, index) = input;
    let Some(bits) = Bits::from_number(bits.into()) else { return };
    let lst = edgepass_jose::base64url::encode(compressed);
    let Ok(list) = StatusList::decode(bits, &lst, CAP) else { return };
    assert!(list.bytes().len() <= CAP);
    assert_eq!(list.status(index).is_some(), index < list.entries());
    assert_eq!(list.status(list.entries()), None);
    // The stored form, packed or sparse, has the same statuses.
    let statuses = Statuses::from(list.clone());
    assert!(statuses.bytes() <= list.bytes().len());
    for index in [index, list.entries().saturating_sub(1), list.entries()].into_iter().chain(0..64)
    {
        assert_eq!(statuses.status(index), list.status(index));
    }
});
