//! Names, messages, and what is always there.

use burn::tensor::Device;

use super::backends;
use super::probe::quietly;
use super::spec::KINDS;
use super::{DeviceSpec, list, open};
use crate::dtype::Dtype;

#[test]
fn every_spelling_reads_back() {
    for text in [
        "auto", "cpu", "ndarray", "cuda", "cuda:1", "wgpu", "wgpu:0", "vulkan:3", "metal",
    ] {
        assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_no_device_is_named() {
    for text in [
        "",
        "gpu",
        "cpu:0",
        "cuda:",
        "cuda:x",
        "cuda:-1",
        "metal:0",
        "remote:gpu1:3000",
    ] {
        let error = text.parse::<DeviceSpec>().unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{text}`")) && error.contains("cuda:0"),
            "{error}"
        );
    }
}

#[test]
fn the_processor_computes_and_says_its_threads() {
    let opened = open(&"cpu".parse().unwrap()).unwrap();
    assert_eq!(opened.device, Device::flex());
    let name = &opened.name;
    assert!(name.starts_with("cpu (") && name.contains("thread"), "{name}");
    assert!(opened.passed_over.is_empty() && opened.check(Dtype::F32).is_ok());
}

#[test]
fn auto_always_finds_something() {
    let opened = open(&DeviceSpec::Auto).unwrap();
    let better = KINDS.into_iter().filter(|&kind| backends::is_built(kind));
    let before = better
        .take_while(|kind| !opened.name.starts_with(kind.name()))
        .count();
    assert_eq!(opened.passed_over.len(), before, "{:?}", opened.passed_over);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_backend_that_is_not_built_says_how_to_build_it() {
    let error = open(&"cuda".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("--features cuda"), "{error}");
}

#[test]
fn a_device_that_is_not_there_says_what_was_looked_for() {
    for kind in KINDS
        .into_iter()
        .filter(|&kind| kind.takes_index() && backends::is_built(kind))
    {
        let spec = DeviceSpec::Named(kind, Some(4000));
        let error = open(&spec).unwrap_err().to_string();
        for part in [&spec.to_string(), "looked for", "found", "driver", "--device cpu"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn every_kind_is_listed_or_said_to_be_missing() {
    let (listed, missing) = list();
    for kind in KINDS {
        let seen = listed
            .iter()
            .any(|one| one.device.split(':').next() == Some(kind.name()));
        let unseen = missing.iter().any(|one| one.kind == kind.name());
        assert!(seen != unseen, "{}", kind.name());
    }
    let cpu = listed.iter().find(|one| one.device == "cpu").unwrap();
    assert!(cpu.error.is_none() && cpu.dtypes.contains(&Dtype::F32));
    assert!(
        cpu.memory
            .is_some_and(|memory| memory.free <= memory.total && memory.total > 1 << 20)
    );
    for one in listed.iter().filter(|one| one.error.is_none()) {
        assert!(open(&one.device.parse().unwrap()).is_ok(), "{}", one.device);
    }
}

#[cfg(feature = "ndarray")]
#[test]
fn numbers_that_a_device_does_not_compute_with_are_refused() {
    let opened = open(&"ndarray".parse().unwrap()).unwrap();
    let error = opened.check(Dtype::Bf16).unwrap_err().to_string();
    assert!(
        error.contains("ndarray") && error.ends_with("bfloat16: take float32"),
        "{error}"
    );
}

#[test]
fn a_panic_becomes_its_message() {
    assert_eq!(
        quietly(|| -> () { panic!("no {}", "driver") }),
        Err("no driver".into())
    );
}
