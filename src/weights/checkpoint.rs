//! The tensors of a model directory, by name, without reading them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, TensorData};
use memmap2::Mmap;
use pytorch_reader::PytorchReader;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::convert::convert;
use super::{WeightsError, read_json};
use crate::files::{self, FileError, guarded};

/// Names of weight files in published directories: transformers' and diffusers'.
const STEMS: [&str; 2] = ["model", "diffusion_pytorch_model"];
/// The same of files that `torch.save` wrote.
const TORCH_STEMS: [&str; 2] = ["pytorch_model", "diffusion_pytorch_model"];

/// Bytes of a tensor that [`Checkpoint::fingerprint`] reads at each of three places.
const SAMPLE: usize = 256;

/// Where one tensor lies.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// The safetensors file.
    pub file: PathBuf,
    /// Its dtype, as the file says.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    source: Source,
    /// Where the data lies in it.
    bytes: Range<usize>,
}

/// What tensors lie in.
#[derive(Debug, Clone)]
enum Source {
    /// A file on disk.
    Map(Arc<Mmap>),
    /// Memory: what a PyTorch file holds is read when it is opened.
    Memory(Arc<Vec<u8>>),
}

impl StoredTensor {
    /// Its data, as it lies in the file.
    pub fn bytes(&self) -> &[u8] {
        let all: &[u8] = match &self.source {
            Source::Map(map) => map,
            Source::Memory(bytes) => bytes,
        };
        &all[self.bytes.clone()]
    }
}

/// A safetensors file, or several with an index: headers read, data left on disk until it is asked for. PyTorch's files are read whole.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, StoredTensor>,
    metadata: BTreeMap<String, String>,
}

/// What there is of weights that are not read, and what helps.
fn hint(dir: &Path) -> String {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = names
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let of = |endings: &[&str]| {
        names
            .iter()
            .find(|name| endings.iter().any(|e| name.ends_with(e)))
    };
    match of(&[".safetensors", ".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"]) {
        Some(name) => format!("; {name} is there: rename it if it is the one"),
        None => String::new(),
    }
}

/// Whether a file is `torch.save`'s, by how it begins: a zip archive, or a pickle.
fn is_torch(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
    // A safetensors file begins with the length of its header, which is no 100 MB.
    read.is_ok() && (start == *b"PK\x03\x04" || (start[0] == 0x80 && start[1] <= 5 && start[2] != 0))
}

fn torch_dtype(dtype: pytorch_reader::DType) -> Dtype {
    use pytorch_reader::DType as Torch;
    match dtype {
        Torch::F64 => Dtype::F64,
        Torch::F32 => Dtype::F32,
        Torch::F16 => Dtype::F16,
        Torch::BF16 => Dtype::BF16,
        Torch::I64 => Dtype::I64,
        Torch::I32 => Dtype::I32,
        Torch::I16 => Dtype::I16,
        Torch::I8 => Dtype::I8,
        Torch::U64 => Dtype::U64,
        Torch::U32 => Dtype::U32,
        Torch::U16 => Dtype::U16,
        Torch::U8 => Dtype::U8,
        Torch::Bool => Dtype::BOOL,
    }
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a model directory (`model.safetensors` or `diffusion_pytorch_model.safetensors`, whole, `.fp16`, or sharded with
    /// `.safetensors.index.json`, or `.fp16` or `.bf16` in one of these names; without these, `pytorch_model.bin` or
    /// `diffusion_pytorch_model.bin`, whole or sharded) or a single file: safetensors, or
    /// what `torch.save` wrote of a `state_dict` (read into memory as data: nothing in a pickle is executed).
    ///
    /// # Errors
    /// [`WeightsError::NoWeights`] with the names looked for; [`WeightsError::Broken`] for a file that is cut short or no safetensors;
    /// [`WeightsError::Mismatch`] when shards lack tensors of the index.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        if !path.is_dir() {
            let mut checkpoint = Self {
                path: path.into(),
                tensors: BTreeMap::new(),
                metadata: BTreeMap::new(),
            };
            checkpoint.add(path)?;
            return Ok(checkpoint);
        }
        let mut expected = Vec::new();
        // Whole, half precision, sharded; diffusers has written the names of sharded variants in two ways.
        for stem in STEMS {
            for name in [format!("{stem}.safetensors"), format!("{stem}.fp16.safetensors")] {
                let file = path.join(&name);
                if file.is_file() {
                    return Self::open(file);
                }
                expected.push(name);
            }
            let name = format!("{stem}.safetensors.index.json");
            for name in [
                name.clone(),
                format!("{stem}.safetensors.index.fp16.json"),
                format!("{stem}.safetensors.fp16.index.json"),
                format!("{stem}.safetensors.index.bf16.json"),
                format!("{stem}.safetensors.bf16.index.json"),
            ] {
                let index = path.join(&name);
                if index.is_file() {
                    return Self::open_shards(path, &index);
                }
            }
            let bf16 = path.join(format!("{stem}.bf16.safetensors"));
            if bf16.is_file() {
                return Self::open(bf16);
            }
            expected.push(name);
        }
        for stem in TORCH_STEMS {
            let (file, index) = (
                path.join(format!("{stem}.bin")),
                path.join(format!("{stem}.bin.index.json")),
            );
            if file.is_file() {
                return Self::open(file);
            }
            if index.is_file() {
                return Self::open_shards(path, &index);
            }
        }
        Err(WeightsError::NoWeights {
            dir: path.into(),
            expected,
            hint: hint(path),
        })
    }

    /// f32 tensors in memory, `(shape, values)` by name; `path` is what messages call them.
    pub fn from_memory(path: &Path, tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Self {
        let stored = |(shape, values): (Vec<usize>, Vec<f32>)| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            StoredTensor {
                file: path.into(),
                dtype: Dtype::F32,
                shape,
                bytes: 0..bytes.len(),
                source: Source::Memory(Arc::new(bytes)),
            }
        };
        Self {
            path: path.into(),
            tensors: tensors
                .into_iter()
                .map(|(name, tensor)| (name, stored(tensor)))
                .collect(),
            metadata: BTreeMap::new(),
        }
    }

    fn open_shards(dir: &Path, index_path: &Path) -> Result<Self, WeightsError> {
        let index: ShardIndex = read_json(index_path)?;
        let mut checkpoint = Self {
            path: index_path.into(),
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        let mut files: Vec<&String> = index.weight_map.values().collect();
        files.sort_unstable();
        files.dedup();
        for file in files {
            // An index may only name files beside it.
            if Path::new(file).components().count() != 1 || file.starts_with("..") {
                let reason = format!("shard `{file}` in `weight_map` is not a plain file name");
                return Err(WeightsError::Config {
                    path: index_path.into(),
                    reason,
                });
            }
            checkpoint.add(&dir.join(file))?;
        }
        let misplaced = |(name, file): (&String, &String)| match checkpoint.tensors.get(name) {
            Some(t) if t.file.file_name().is_some_and(|f| f == file.as_str()) => None,
            _ => Some(name.clone()),
        };
        let missing: Vec<String> = index.weight_map.iter().filter_map(misplaced).collect();
        let unused: Vec<String> = checkpoint
            .tensors
            .keys()
            .filter(|name| !index.weight_map.contains_key(*name))
            .cloned()
            .collect();
        if missing.is_empty() && unused.is_empty() {
            return Ok(checkpoint);
        }
        let model = "its shards".to_string();
        Err(WeightsError::Mismatch {
            path: index_path.into(),
            model,
            missing,
            unused,
            misfits: Vec::new(),
        })
    }

    fn add(&mut self, path: &Path) -> Result<(), WeightsError> {
        match path.is_file() && is_torch(path) {
            true => self.add_torch_file(path),
            false => self.add_file(path),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), WeightsError> {
        let broken = |reason: String| WeightsError::Broken {
            path: path.into(),
            reason,
        };
        let io = |source| crate::files::FileError::Io {
            action: "read",
            path: path.into(),
            source,
        };
        if !path.is_file() {
            return Err(crate::files::FileError::Missing(path.into()).into());
        }
        let file = File::open(path).map_err(io)?;
        #[expect(
            unsafe_code,
            reason = "read-only map of a weight file; a file cut while mapped is the user's to avoid"
        )]
        let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(io)?);
        let (header_len, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|e| broken(format!("{e} ({} bytes; was the download cut short?)", map.len())))?;
        let data_start = 8 + header_len;
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let tensor = StoredTensor {
                file: path.into(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                source: Source::Map(map.clone()),
                bytes: data_start + start..data_start + end,
            };
            self.tensors.insert(name, tensor);
        }
        self.metadata.extend(
            metadata
                .metadata()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        Ok(())
    }

    fn add_torch_file(&mut self, path: &Path) -> Result<(), WeightsError> {
        let broken = |reason: String| WeightsError::Broken {
            path: path.into(),
            reason,
        };
        let size = std::fs::metadata(path).map_or(0, |m| m.len());
        let reader = guarded(|| PytorchReader::new(path))
            .ok_or_else(|| broken("its reader gave up: it is damaged".into()))?;
        let reader =
            reader.map_err(|e| broken(format!("{e} ({size} bytes; was the download cut short?)")))?;
        for (name, tensor) in reader.into_tensors() {
            // A view may claim more elements than its storage has.
            if tensor.byte_len() as u64 > size {
                let reason = format!("`{name}` of {} bytes in a file of {size}", tensor.byte_len());
                return Err(broken(reason));
            }
            let bytes = tensor.read().map_err(|e| broken(format!("`{name}`: {e}")))?;
            let stored = StoredTensor {
                file: path.into(),
                dtype: torch_dtype(tensor.dtype()),
                shape: tensor.shape().to_vec(),
                bytes: 0..bytes.len(),
                source: Source::Memory(Arc::new(bytes)),
            };
            self.tensors.insert(name, stored);
        }
        Ok(())
    }

    /// The tensors whose names `leave_out` does not hold of.
    pub fn without(&self, leave_out: impl Fn(&str) -> bool) -> Self {
        let mut kept = self.clone();
        kept.tensors.retain(|name, _| !leave_out(name));
        kept
    }

    /// The file or index that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every tensor by name, sorted.
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    /// The `__metadata__` of the file's header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The files that hold the tensors, by name.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.tensors.values().map(|tensor| tensor.file.clone()).collect()
    }

    /// SHA-256 over the bytes of its files and of the `config.json` beside them. Files that were hashed before and not written to since are not read
    /// again.
    ///
    /// # Errors
    /// [`FileError`], naming the file.
    pub fn sha256(&self) -> Result<String, FileError> {
        let mut files = self.files();
        files.extend(
            self.path
                .parent()
                .map(|dir| dir.join("config.json"))
                .filter(|config| config.is_file()),
        );
        let hashes = files
            .into_iter()
            .map(files::sha256_known)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(files::sha256(hashes.concat().as_bytes()))
    }

    /// A cheap identity: SHA-256 over every tensor's name, dtype, shape and the first, middle and last 256 bytes of its data. It reads a
    /// few pages of each tensor, so it costs little for 5 GB of weights; it tells checkpoints apart that differ by training or dtype, not ones that
    /// were tampered with.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (name, tensor) in &self.tensors {
            hash.update(format!("{name} {:?} {:?}\n", tensor.dtype, tensor.shape));
            let bytes = tensor.bytes();
            let last = bytes.len().saturating_sub(SAMPLE);
            for start in [0, last / 2, last] {
                hash.update(&bytes[start..bytes.len().min(start + SAMPLE)]);
            }
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The tensors whose names start with `prefix`, under the rest of their names: one model of a file that holds more.
    pub fn under(&self, prefix: &str) -> Self {
        let strip = |(name, tensor): (&String, &StoredTensor)| {
            Some((name.strip_prefix(prefix)?.to_string(), tensor.clone()))
        };
        let tensors = self.tensors.iter().filter_map(strip).collect();
        Self {
            path: self.path.clone(),
            tensors,
            metadata: self.metadata.clone(),
        }
    }

    /// Reads one tensor from disk, in its stored dtype.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] when there is no such tensor, [`WeightsError::Broken`] for a dtype that Burn lacks.
    pub fn read(&self, name: &str) -> Result<TensorData, WeightsError> {
        let tensor = self.tensors.get(name).ok_or_else(|| WeightsError::Mismatch {
            path: self.path.clone(),
            model: "what was asked for".into(),
            missing: vec![name.into()],
            unused: Vec::new(),
            misfits: Vec::new(),
        })?;
        tensor.read()
    }
}

impl StoredTensor {
    /// Burn's dtype, if it has one.
    pub fn burn_dtype(&self) -> Option<DType> {
        Some(match self.dtype {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::I16 => DType::I16,
            Dtype::I8 => DType::I8,
            Dtype::U8 => DType::U8,
            _ => return None,
        })
    }

    /// The data, read from disk now.
    ///
    /// # Errors
    /// [`WeightsError::File`] or [`WeightsError::Broken`].
    pub fn read(&self) -> Result<TensorData, WeightsError> {
        let dtype = self.burn_dtype().ok_or_else(|| WeightsError::Broken {
            path: self.file.clone(),
            reason: format!("dtype {:?} is not supported", self.dtype),
        })?;
        let bytes = self.bytes().to_vec();
        self.let_go();
        Ok(TensorData::from_bytes_vec(bytes, self.shape.clone(), dtype))
    }

    /// The data in another precision, and with the two axes of a matrix swapped if `transposed`; read from disk now.
    ///
    /// # Errors
    /// [`WeightsError::Broken`] for numbers that are not floating point.
    pub(super) fn read_as(&self, dtype: DType, transposed: bool) -> Result<TensorData, WeightsError> {
        let bytes = self.bytes();
        let data = self
            .burn_dtype()
            .and_then(|from| convert(bytes, from, &self.shape, dtype, transposed));
        self.let_go();
        data.ok_or_else(|| WeightsError::Broken {
            path: self.file.clone(),
            reason: format!("dtype {:?} cannot be read as {dtype:?}", self.dtype),
        })
    }

    /// Gives the pages of this tensor back to the system, which otherwise counts a whole mapped model beside the loaded one.
    fn let_go(&self) {
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            let Source::Map(map) = &self.source else { return };
            #[expect(
                unsafe_code,
                reason = "the map is read-only and of a file: what is touched again is read again"
            )]
            let advised = unsafe { map.unchecked_advise_range(DontNeed, self.bytes.start, self.bytes.len()) };
            if let Err(error) = advised {
                tracing::debug!(%error, "the system keeps the pages of a weight file");
            }
        }
    }
}
