//! Named tensors to safetensors files and back, one tensor at a time.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::Dtype;
use tch::{Kind, Tensor};

use super::checksums::cannot_read;
use crate::error::{io as io_error, Error, Result};

/// The longest header that the format allows, in bytes.
const LARGEST_HEADER: u64 = 100_000_000;

/// Writes `tensors` (fp32 or fp64, on any device) in their order; `path` is for messages.
pub(super) fn write(mut writer: impl Write, path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let mut infos = Vec::with_capacity(tensors.len());
    let mut end = 0;
    for (name, tensor) in tensors {
        let (dtype, bytes) = match tensor.f_kind()? {
            Kind::Float => (Dtype::F32, 4),
            Kind::Double => (Dtype::F64, 8),
            other => return Err(Error::failed(format!("tensor `{name}`: expected fp32 or fp64, got {other:?}"))),
        };
        let shape: Vec<usize> = tensor.size().iter().map(|&length| length as usize).collect();
        let start = end;
        end += shape.iter().product::<usize>() * bytes;
        infos.push((name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) }));
    }
    let refuse = |error| Error::failed(format!("cannot describe the tensors of `{}`", path.display())).caused_by(error);
    let metadata = Metadata::new(None, infos).map_err(refuse)?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| refuse(error.into()))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let failed = |error| io_error("write", path, error);
    writer.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    writer.write_all(&header).map_err(failed)?;
    let mut buffer = Vec::new();
    for (name, tensor) in tensors {
        let (start, end) = metadata.info(name).map_or((0, 0), |info| info.data_offsets);
        buffer.resize(end - start, 0);
        tensor.f_copy_data_u8(&mut buffer, tensor.numel())?;
        writer.write_all(&buffer).map_err(failed)?;
    }
    writer.flush().map_err(failed)
}

/// An open safetensors file.
pub(super) struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Where the first tensor starts, in bytes.
    data: u64,
    buffer: Vec<u8>,
}

impl TensorFile {
    /// Reads the header and holds it against the size of the file and the names that may be in it.
    pub(super) fn open(path: PathBuf, expected: &[String]) -> Result<Self> {
        let refuse = |found: String| Error::data(format!("`{}` is not a safetensors file: {found}", path.display()));
        let mut file = File::open(&path).map_err(|error| cannot_read(&path, error))?;
        let length = file.metadata().map_err(|error| cannot_read(&path, error))?.len();
        let mut prefix = [0; 8];
        read_exact(&mut file, &path, &mut prefix)?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > LARGEST_HEADER.min(length.saturating_sub(8)) {
            return Err(refuse(format!("expected a header within its {length} bytes, got one of {header_length}")));
        }
        let mut header = vec![0; header_length as usize];
        read_exact(&mut file, &path, &mut header)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| refuse("its header is wrong".into()).caused_by(error))?;
        let data = 8 + header_length;
        if metadata.data_len() as u64 != length - data {
            return Err(refuse(format!("expected {} bytes of tensors, got {}", metadata.data_len(), length - data)));
        }
        if let Some(name) = metadata.offset_keys().iter().find(|name| !expected.contains(name)) {
            return Err(Error::data(format!("`{}` holds an unexpected tensor `{name}`", path.display())));
        }
        Ok(Self { path, file, metadata, data, buffer: Vec::new() })
    }

    /// One tensor, on the CPU.
    pub(super) fn tensor(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let info = self
            .metadata
            .info(name)
            .ok_or_else(|| Error::data(format!("`{}` holds no tensor `{name}`", self.path.display())))?;
        if !info.shape.iter().map(|&length| i64::try_from(length).ok()).eq(shape.iter().map(|&length| Some(length))) {
            return Err(Error::data(format!(
                "`{}`: tensor `{name}`: expected shape {shape:?}, got {:?}",
                self.path.display(),
                info.shape
            )));
        }
        let kind = match info.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            other => {
                return Err(Error::data(format!(
                    "`{}`: tensor `{name}`: expected F32 or F64, got {other}",
                    self.path.display()
                )))
            }
        };
        // The header was held against the file's size: this is no longer than the file.
        let (start, end) = info.data_offsets;
        self.buffer.resize(end - start, 0);
        self.file.seek(SeekFrom::Start(self.data + start as u64)).map_err(|error| cannot_read(&self.path, error))?;
        read_exact(&mut self.file, &self.path, &mut self.buffer)?;
        Ok(Tensor::f_from_data_size(&self.buffer, shape, kind)?)
    }
}

fn read_exact(file: &mut File, path: &Path, buffer: &mut [u8]) -> Result<()> {
    file.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::data(format!("`{}` ends too early", path.display())),
        _ => cannot_read(path, error),
    })
}
