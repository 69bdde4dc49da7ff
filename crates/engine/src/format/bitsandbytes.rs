//! 4-bit normal floats as bitsandbytes stores them beside a weight, read into blocks of our own. Main function: [`read`].
//!
//! `W.weight` holds the codes of all elements in order, two to a byte, the first in the upper half. Beside it stand `.absmax`,
//! one scale for each block of elements, `.quant_map`, the 16 values, and `.quant_state.bitsandbytes__nf4`, JSON with shape and
//! block size. With double quantisation `.absmax` is bytes: indices into `.nested_quant_map`, scaled block by block with
//! `.nested_absmax`, plus an offset. Dettmers et al. 2023; bitsandbytes' `QuantState`.

use serde::Deserialize;

use super::blocks::CODE;
use super::data_type::DataType;
use super::error::Problem;
use super::file_bytes::FilePart;
use super::safetensors_header::Entry;
use super::tensor::{RowOrder, TensorView};

/// What follows a weight's name in that of its state.
pub(crate) const STATE: &str = ".quant_state.bitsandbytes__nf4";
/// The same for bitsandbytes' other 4-bit type, which is not read.
pub(crate) const STATE_OF_FP4: &str = ".quant_state.bitsandbytes__fp4";
/// The other companions of a weight.
pub(crate) const COMPANIONS: [&str; 4] =
    [".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"];

/// Bytes of a state.
const MAXIMUM_STATE: usize = 4096;
/// Elements of a tensor.
const MAXIMUM_ELEMENTS: usize = 1 << 40;

/// The JSON of a state. `dtype`, the type that was quantised, changes no value here: products are widened anyway.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    quant_type: String,
    blocksize: usize,
    shape: Vec<usize>,
    #[serde(rename = "dtype")]
    _dtype: String,
    nested_blocksize: Option<usize>,
    #[serde(rename = "nested_dtype")]
    _nested_dtype: Option<String>,
    nested_offset: Option<f32>,
}

/// A companion as the file has it.
pub(crate) struct Part<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) bytes: &'a [u8],
}

/// The weight `name`, from what `part` gives for its own name and those of its companions.
///
/// Values are `code·absmax`, rounded once to f32. Blocks of 64 within rows stay 4-bit; any other blocks are widened here.
pub(crate) fn read<'a>(
    name: &str,
    part: &dyn Fn(&str) -> Option<Part<'a>>,
) -> Result<TensorView, Problem> {
    let find = |ending: &str| part(&format!("{name}{ending}"));
    let needed = |ending: &str| {
        find(ending).ok_or_else(|| Problem::MissingTensor { name: format!("{name}{ending}") })
    };
    let state = read_state(name, needed(STATE)?.bytes)?;
    let (elements, shape) = (state.shape.iter().product::<usize>(), &state.shape);
    let codes = needed("")?.bytes;
    expect_bytes(name, codes.len(), elements.div_ceil(2))?;
    let map = floats(name, &needed(".quant_map")?, 16)?;
    if map != CODE {
        return Err(unsupported(name, "a quant_map that is not NF4's"));
    }
    let scales = scales(name, &state, elements.div_ceil(state.blocksize), &needed, &find)?;
    let columns = shape[shape.len() - 1];
    if state.blocksize.is_multiple_of(64) && columns.is_multiple_of(64) {
        let mut blocks = Vec::with_capacity(elements / 64 * 36);
        for (number, codes) in codes.chunks_exact(32).enumerate() {
            blocks.extend(scales[number * 64 / state.blocksize].to_le_bytes());
            blocks.extend(codes);
        }
        let bytes = FilePart::owned(blocks);
        return Ok(TensorView::new(name, shape, DataType::NF4, RowOrder::AsStored, bytes));
    }
    let value = |at: usize| {
        let code = codes[at / 2] >> (4 * (1 - at % 2)) & 15;
        CODE[usize::from(code)] * scales[at / state.blocksize]
    };
    let bytes = FilePart::owned((0..elements).flat_map(|at| value(at).to_le_bytes()).collect());
    Ok(TensorView::new(name, shape, DataType::F32, RowOrder::AsStored, bytes))
}

fn unsupported(name: &str, what: &str) -> Problem {
    Problem::Unsupported { what: format!("tensor {name:?}: {what}") }
}

fn expect_bytes(tensor: &str, got: usize, expected: usize) -> Result<(), Problem> {
    if got == expected {
        return Ok(());
    }
    let (tensor, expected, got) = (tensor.to_string(), expected as u64, got as u64);
    Err(Problem::ByteRange { tensor, expected, got })
}

fn read_state(name: &str, bytes: &[u8]) -> Result<State, Problem> {
    if bytes.len() > MAXIMUM_STATE {
        let (count, limit) = (bytes.len() as u64, MAXIMUM_STATE as u64);
        return Err(Problem::Count { what: "bytes of quantisation state", count, limit });
    }
    let state: State = serde_json::from_slice(bytes).map_err(|error| Problem::Json {
        what: "a bitsandbytes quant_state",
        message: format!("{name}: {error}"),
    })?;
    if state.quant_type != "nf4" {
        return Err(unsupported(name, &format!("the bitsandbytes type {:?}", state.quant_type)));
    }
    if !state.blocksize.is_power_of_two() || !(16..=4096).contains(&state.blocksize) {
        return Err(unsupported(name, &format!("blocks of {}", state.blocksize)));
    }
    let elements = state.shape.iter().try_fold(1usize, |elements, size| {
        elements.checked_mul(*size).filter(|elements| *elements <= MAXIMUM_ELEMENTS)
    });
    if !(1..=2).contains(&state.shape.len()) || elements.is_none_or(|elements| elements == 0) {
        let (tensor, reason) = (name.to_string(), format!("its state says {:?}", state.shape));
        return Err(Problem::TensorShape { tensor, reason });
    }
    Ok(state)
}

/// One scale for each of `count` blocks.
fn scales<'a>(
    name: &str,
    state: &State,
    count: usize,
    needed: &dyn Fn(&str) -> Result<Part<'a>, Problem>,
    find: &dyn Fn(&str) -> Option<Part<'a>>,
) -> Result<Vec<f32>, Problem> {
    let stored = needed(".absmax")?;
    let scales = match find(".nested_absmax") {
        None => floats(name, &stored, count)?,
        Some(outer) => {
            let field = |field: &str| Problem::MissingField { field: format!("{name}: {field}") };
            let block = state.nested_blocksize.ok_or_else(|| field("nested_blocksize"))?;
            let offset = state.nested_offset.ok_or_else(|| field("nested_offset"))?;
            if !block.is_power_of_two() || !(16..=4096).contains(&block) {
                return Err(unsupported(name, &format!("nested blocks of {block}")));
            }
            expect_bytes(name, stored.bytes.len(), count)?;
            let outer = floats(name, &outer, count.div_ceil(block))?;
            let map = floats(name, &needed(".nested_quant_map")?, 256)?;
            let scale =
                |(at, byte): (usize, &u8)| map[usize::from(*byte)] * outer[at / block] + offset;
            stored.bytes.iter().enumerate().map(scale).collect()
        }
    };
    if scales.iter().all(|scale| scale.is_finite()) {
        Ok(scales)
    } else {
        Err(unsupported(name, "a scale that is not finite"))
    }
}

fn floats(name: &str, part: &Part<'_>, count: usize) -> Result<Vec<f32>, Problem> {
    if part.entry.type_name != "F32" {
        let type_name = &part.entry.type_name;
        return Err(unsupported(name, &format!("a companion stored as {type_name}")));
    }
    expect_bytes(name, part.bytes.len(), 4 * count)?;
    Ok(part.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
