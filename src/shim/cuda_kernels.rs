//! The compiled kernels of csrc/cuda_kernels: build.rs embeds a cubin for each GPU architecture and PTX for the others.

use super::ffi::{check, untie_cuda_capability, untie_cuda_load_kernels, untie_cuda_problem, untie_set_launcher};
use crate::error::{Error, Result};

// VERSION, and IMAGES, which is empty in a build without CUDA.
include!(concat!(env!("OUT_DIR"), "/cuda_kernels/embedded.rs"));

/// Kernels as the CUDA runtime loads them.
#[cfg_attr(not(test), allow(dead_code))] // a build without CUDA has none
struct Image {
    form: Form,
    /// The compute capability, e.g. 90 for 9.0.
    number: u32,
    /// By zstd.
    packed: &'static [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))] // as of Image
enum Form {
    /// Instructions for this compute capability and later ones with the same first digit.
    Cubin,
    /// A text that the driver of a GPU with at least this compute capability compiles.
    Ptx,
}

/// Checks that libtorch has CUDA where there is an NVIDIA driver, and where it is a libtorch for CUDA.
///
/// # Errors
/// A library of CUDA that is missing or does not fit.
pub fn check_cuda_libraries() -> Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { untie_cuda_problem() })
}

/// A hash of the kernels' text, the same in every build of it.
pub fn cuda_kernels_version() -> &'static str {
    VERSION
}

/// Makes the kernels ready for CUDA device `index`.
///
/// # Errors
/// A build without them, a machine without a driver, a GPU that they do not run on.
pub fn load_cuda_kernels(index: usize) -> Result<()> {
    if IMAGES.is_empty() {
        return Err(Error::failed("this build has no CUDA kernels"));
    }
    let device = i32::try_from(index).unwrap_or(i32::MAX);
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both numbers outlive the call, which writes them or fails.
    check(unsafe { untie_cuda_capability(device, &raw mut major, &raw mut minor) })?;
    let found = choose(IMAGES, (major.unsigned_abs(), minor.unsigned_abs())).ok_or_else(|| {
        Error::failed(format!("CUDA kernels need compute capability 8.0 or newer, this GPU has {major}.{minor}"))
    })?;
    load(device, found)
}

/// From now on nothing is computed by kernels of csrc/cuda_kernels.
pub fn unload_cuda_kernels() {
    // SAFETY: no pointers are passed.
    unsafe { untie_set_launcher(None, 1) }
}

fn load(device: i32, image: &Image) -> Result<()> {
    let bytes = zstd::decode_all(image.packed).map_err(|error| Error::failed("CUDA kernels").caused_by(error))?;
    // SAFETY: the image is whole, PTX with its NUL, and is copied before the call returns.
    check(unsafe { untie_cuda_load_kernels(device, bytes.as_ptr().cast()) })
}

/// The image for a GPU of compute capability `major`.`minor`: the nearest cubin that runs there, or else PTX.
fn choose(images: &[Image], (major, minor): (u32, u32)) -> Option<&Image> {
    let number = 10 * major + minor;
    let fits = |image: &&Image| match image.form {
        Form::Cubin => image.number / 10 == major && image.number <= number,
        Form::Ptx => image.number <= number,
    };
    images.iter().filter(fits).max_by_key(|image| (image.form == Form::Cubin, image.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_gets_the_nearest_cubin_or_ptx() {
        let image = |form, number| Image { form, number, packed: &[] };
        let images = [image(Form::Ptx, 80), image(Form::Cubin, 80), image(Form::Cubin, 86), image(Form::Cubin, 90)];
        let chosen = |capability| choose(&images, capability).map(|image| (image.form, image.number));
        for (capability, expected) in [
            ((7, 5), None),
            ((8, 0), Some((Form::Cubin, 80))),
            ((8, 6), Some((Form::Cubin, 86))),
            ((8, 9), Some((Form::Cubin, 86))),
            ((9, 0), Some((Form::Cubin, 90))),
            ((10, 0), Some((Form::Ptx, 80))),
            ((12, 1), Some((Form::Ptx, 80))),
        ] {
            assert_eq!(chosen(capability), expected, "{capability:?}");
        }
    }

    #[test]
    fn every_image_is_whole() {
        for image in IMAGES {
            let bytes = zstd::decode_all(image.packed).unwrap();
            match image.form {
                Form::Cubin => assert!(bytes.starts_with(b"\x7fELF"), "{}", image.number),
                Form::Ptx => assert!(bytes.ends_with(&[0]) && bytes.len() > 1, "{}", image.number),
            }
        }
        assert_eq!(cuda_kernels_version().len(), 16);
    }

    #[test]
    fn without_a_gpu_loading_is_an_error() {
        if tch::Cuda::device_count() == 0 {
            assert!(load_cuda_kernels(0).is_err());
            for image in IMAGES {
                let message = load(0, image).unwrap_err().to_string();
                assert!(message.contains("driver") || message.contains("device"), "{message}");
            }
        }
    }
}
