//! NVRTC, NVIDIA's compiler of CUDA C++ in a library. It needs neither a GPU nor a driver.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::path::{Path, PathBuf};
use std::{fmt, fs, ptr};

use libloading::{Library, Symbol};

/// The release of CUDA whose libraries libtorch 2.11 is linked to.
const MAJOR: &str = "13";

/// A text and its headers, by the names under which it includes them.
pub struct Source {
    pub name: String,
    pub text: String,
    pub headers: Vec<(String, String)>,
}

/// What a text is compiled for.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Instructions of the GPUs of one compute capability, e.g. 90 for 9.0, and of later ones with the same first digit.
    Cubin(u32),
    /// What the driver of any GPU of at least this compute capability compiles itself.
    Ptx(u32),
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cubin(number) => write!(out, "sm_{number}"),
            Self::Ptx(number) => write!(out, "compute_{number}"),
        }
    }
}

/// What came of a text.
pub struct Compiled {
    pub image: Vec<u8>,
    /// Warnings.
    pub log: String,
}

/// The opened library.
pub struct Nvrtc {
    library: Library,
    /// Its own headers, which it opens by name; opened before, they are found wherever they lie.
    _builtins: Option<Library>,
}

type Program = *mut c_void;

impl Nvrtc {
    /// Opens the library in the first of `folders` that has it, or else where the loader finds it; `None`: it is nowhere.
    pub fn open(folders: &[PathBuf]) -> Option<Self> {
        let found = folders.iter().find_map(|folder| Some((library_in(folder, "")?, library_in(folder, "-builtins"))));
        let (path, builtins) = found.unwrap_or((format!("libnvrtc.so.{MAJOR}").into(), None));
        // SAFETY: what runs on opening is NVIDIA's own.
        unsafe {
            let _builtins = builtins.and_then(|path| Library::new(path).ok());
            Some(Self { library: Library::new(path).ok()?, _builtins })
        }
    }

    /// E.g. `13.0`.
    pub fn version(&self) -> String {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the signature is that of nvrtc.h; both numbers outlive the call.
        unsafe {
            let version: Symbol<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int> = self.get("nvrtcVersion");
            version(&raw mut major, &raw mut minor);
        }
        format!("{major}.{minor}")
    }

    /// Compiles `source`; the error is what NVRTC says of the text.
    pub fn compile(&self, source: &Source, target: Target, options: &[&str]) -> Result<Compiled, String> {
        let c_string = |text: &str| CString::new(text).map_err(|_| format!("{}: a NUL in the text", source.name));
        let (name, text) = (c_string(&source.name)?, c_string(&source.text)?);
        let names = source.headers.iter().map(|(name, _)| c_string(name)).collect::<Result<Vec<_>, _>>()?;
        let texts = source.headers.iter().map(|(_, text)| c_string(text)).collect::<Result<Vec<_>, _>>()?;
        let architecture = format!("--gpu-architecture={target}");
        let options = options.iter().copied().chain([architecture.as_str()]).map(c_string);
        let options = options.collect::<Result<Vec<_>, _>>()?;
        let pointers = |strings: &[CString]| strings.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (names_at, texts_at, options_at) = (pointers(&names), pointers(&texts), pointers(&options));
        let count = |length: usize| c_int::try_from(length).expect("a few");
        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
        // SAFETY: the signatures are those of nvrtc.h; every string ends in a NUL and outlives the calls; the program is
        // destroyed once, after its last use.
        unsafe {
            let create: Symbol<Create> = self.get("nvrtcCreateProgram");
            let compile: Symbol<Compile> = self.get("nvrtcCompileProgram");
            let destroy: Symbol<unsafe extern "C" fn(*mut Program) -> c_int> = self.get("nvrtcDestroyProgram");
            let mut program: Program = ptr::null_mut();
            self.check(create(
                &raw mut program,
                text.as_ptr(),
                name.as_ptr(),
                count(names.len()),
                texts_at.as_ptr(),
                names_at.as_ptr(),
            ))?;
            let compiled = self.check(compile(program, count(options.len()), options_at.as_ptr()));
            let log = self.bytes(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").unwrap_or_default();
            let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
            let result = compiled.map_err(|problem| format!("{problem}\n{log}")).and_then(|()| {
                let (size, get) = match target {
                    Target::Cubin(_) => ("nvrtcGetCUBINSize", "nvrtcGetCUBIN"),
                    Target::Ptx(_) => ("nvrtcGetPTXSize", "nvrtcGetPTX"),
                };
                Ok(Compiled { image: self.bytes(program, size, get)?, log })
            });
            destroy(&raw mut program);
            result
        }
    }

    /// What NVRTC holds of a program: the function `size` says how many bytes, `get` writes them.
    ///
    /// # Safety
    /// `program` is alive, and both functions have these signatures.
    unsafe fn bytes(&self, program: Program, size: &str, get: &str) -> Result<Vec<u8>, String> {
        let size: Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> = self.get(size);
        let get: Symbol<unsafe extern "C" fn(Program, *mut u8) -> c_int> = self.get(get);
        let mut length = 0;
        self.check(size(program, &raw mut length))?;
        let mut bytes = vec![0; length];
        self.check(get(program, bytes.as_mut_ptr()))?;
        Ok(bytes)
    }

    fn check(&self, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the signature is that of nvrtc.h, and the text is the library's own.
        let words = unsafe {
            let words: Symbol<unsafe extern "C" fn(c_int) -> *const c_char> = self.get("nvrtcGetErrorString");
            CStr::from_ptr(words(status)).to_string_lossy().into_owned()
        };
        Err(words)
    }

    /// # Safety
    /// `Function` is the signature of `name`.
    unsafe fn get<Function>(&self, name: &str) -> Symbol<'_, Function> {
        self.library.get(name.as_bytes()).unwrap_or_else(|error| panic!("NVRTC lacks `{name}`: {error}"))
    }
}

/// `libnvrtc{part}.so.13` in `folder`; libtorch's archives put a hash behind the name, its wheels a minor version behind the number.
fn library_in(folder: &Path, part: &str) -> Option<PathBuf> {
    let names = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let fits = |name: &String| {
        let rest = name.strip_prefix("libnvrtc").and_then(|rest| rest.strip_prefix(part)).unwrap_or_default();
        let (hash, version) = rest.split_once(".so.").unwrap_or_default();
        let is_hex = |digits: &str| digits.chars().all(|digit| digit.is_ascii_hexdigit());
        let is_hash = hash.is_empty() || hash.strip_prefix('-').is_some_and(is_hex);
        is_hash && version.split('.').next() == Some(MAJOR)
    };
    Some(folder.join(names.filter(fits).min()?))
}
