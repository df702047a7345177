//! Which fields a request may hold, decided before it is parsed: what Berth does not honour is refused by name, unless its value
//! would change nothing. Pure; each operation has its table beside it.

use serde_json::{Map, Value};

/// One field and what may stand in it.
pub type Field = (&'static str, Rule);

#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Taken over; its type is checked when the request is parsed.
    Taken,
    /// Taken over, and must be there.
    Required,
    /// Has no effect here, whatever its value.
    Ignored,
    /// Taken only with one of these values, with which it changes nothing.
    Only(&'static [&'static str]),
    /// A list that may hold only these values.
    ListOf(&'static [&'static str]),
    Object(&'static [Field]),
    /// A list of such objects.
    Each(&'static [Field]),
}

/// Why a request is refused before it is parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("{path} is not supported by Berth; leave it out")]
    Unsupported { path: String },
    #[error("{path} = {value} is not supported by Berth; supported: {supported}")]
    Value { path: String, value: String, supported: String },
    #[error("{path} is missing")]
    Missing { path: String },
    #[error("{path} has to be {wanted}")]
    Shape { path: String, wanted: &'static str },
}

/// Longest value that is repeated in a message, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// Checks every field of `object`. Nulls are taken out before, with [`without_nulls`].
pub fn check(object: &Map<String, Value>, fields: &[Field]) -> Result<(), FieldError> {
    check_at("", object, fields)
}

fn check_at(prefix: &str, object: &Map<String, Value>, fields: &[Field]) -> Result<(), FieldError> {
    for (name, value) in object {
        let path = format!("{prefix}{}", shown(name));
        match fields.iter().find(|(known, _)| known == name) {
            Some((_, rule)) => check_value(&path, value, *rule)?,
            None if is_nothing(value) => {}
            None => return Err(FieldError::Unsupported { path }),
        }
    }
    for (name, rule) in fields {
        if matches!(rule, Rule::Required) && object.get(*name).is_none_or(|value| value.as_str() == Some("")) {
            return Err(FieldError::Missing { path: format!("{prefix}{name}") });
        }
    }
    Ok(())
}

fn check_value(path: &str, value: &Value, rule: Rule) -> Result<(), FieldError> {
    match rule {
        Rule::Taken | Rule::Required | Rule::Ignored => Ok(()),
        Rule::Only(_) if is_nothing(value) => Ok(()),
        Rule::Only(supported) => check_among(path, value, supported),
        Rule::ListOf(supported) => list(path, value)?.iter().try_for_each(|value| check_among(path, value, supported)),
        Rule::Object(fields) => {
            let object = value.as_object().ok_or_else(|| FieldError::Shape { path: path.to_owned(), wanted: "an object" })?;
            check_at(&format!("{path}."), object, fields)
        }
        Rule::Each(fields) => list(path, value)?.iter().enumerate().try_for_each(|(at, value)| {
            let path = format!("{path}[{at}]");
            let object = value.as_object().ok_or_else(|| FieldError::Shape { path: path.clone(), wanted: "an object" })?;
            check_at(&format!("{path}."), object, fields)
        }),
    }
}

fn list<'a>(path: &str, value: &'a Value) -> Result<&'a Vec<Value>, FieldError> {
    value.as_array().ok_or_else(|| FieldError::Shape { path: path.to_owned(), wanted: "a list" })
}

fn check_among(path: &str, value: &Value, supported: &[&str]) -> Result<(), FieldError> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if supported.contains(&text.as_str()) {
        return Ok(());
    }
    Err(FieldError::Value { path: path.to_owned(), value: shown(&text), supported: supported.join(", ") })
}

/// Whether a value says nothing: null, false, empty text, and lists and objects of nothing else.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::String(text) => text.is_empty(),
        Value::Number(_) => false,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.values().all(is_nothing),
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).filter(|c| !c.is_control()).collect();
    if text.chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    shown
}

/// `value` without members that are null: in this protocol the same as absent.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, without_nulls(value))).collect(),
        ),
        Value::Array(values) => Value::Array(values.into_iter().filter(|value| !value.is_null()).map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FIELDS: &[Field] = &[
        ("service", Rule::Required),
        ("count", Rule::Taken),
        ("launchType", Rule::Only(&["EC2"])),
        ("compatibilities", Rule::ListOf(&["EC2", "EXTERNAL"])),
        ("managed", Rule::Ignored),
        ("configuration", Rule::Object(&[("percent", Rule::Taken), ("bake", Rule::Only(&["0"]))])),
        ("items", Rule::Each(&[("name", Rule::Required)])),
    ];

    fn outcome(request: Value) -> Result<(), String> {
        let Value::Object(request) = without_nulls(request) else { panic!("an object") };
        check(&request, FIELDS).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_that_would_change_nothing_are_taken() {
        for request in [
            json!({"service": "a"}),
            json!({"service": "a", "count": 3, "launchType": "EC2", "managed": true}),
            json!({"service": "a", "unknown": null, "other": [], "third": {}, "fourth": false, "fifth": {"a": {"b": []}}, "sixth": ""}),
            json!({"service": "a", "configuration": {"percent": 3, "bake": 0, "alarms": {"enable": false, "alarmNames": []}}}),
            json!({"service": "a", "compatibilities": ["EC2"], "items": [{"name": "x"}]}),
        ] {
            assert_eq!(outcome(request.clone()), Ok(()), "{request}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (request, expected) in [
            (json!({}), "service is missing"),
            (json!({"service": ""}), "service is missing"),
            (json!({"service": "a", "unknown": 0}), "unknown is not supported by Berth; leave it out"),
            (json!({"service": "a", "launchType": "FARGATE"}), "launchType = FARGATE is not supported by Berth; supported: EC2"),
            (
                json!({"service": "a", "compatibilities": ["EC2", "FARGATE"]}),
                "compatibilities = FARGATE is not supported by Berth; supported: EC2, EXTERNAL",
            ),
            (json!({"service": "a", "configuration": {"bake": 5}}), "configuration.bake = 5 is not supported by Berth; supported: 0"),
            (json!({"service": "a", "configuration": {"x": {"y": true}}}), "configuration.x is not supported by Berth; leave it out"),
            (json!({"service": "a", "configuration": 1}), "configuration has to be an object"),
            (json!({"service": "a", "items": {}}), "items has to be a list"),
            (json!({"service": "a", "items": [{"name": "x"}, {}]}), "items[1].name is missing"),
            (json!({"service": "a", "items": [{"name": "x", "linux": [1]}]}), "items[0].linux is not supported by Berth; leave it out"),
        ] {
            assert_eq!(outcome(request.clone()), Err(expected.to_owned()), "{request}");
        }
    }
}
