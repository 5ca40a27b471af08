# The commands and events of the JSON Schema on stdin, in roff.

def escaped: gsub("\\\\"; "\\e") | gsub("-"; "\\-") | gsub("(?<a>^|\n)(?<c>[.'])"; "\(.a)\\&\(.c)");
def bold: "\\fB\(escaped)\\fR";
def sentence: if . == null or . == "" then "" else " " + (escaped | rtrimstr(".")) + "." end;

. as $schema
| def resolved: if has("$ref") then (.["$ref"] | ltrimstr("#/") | split("/")) as $path
      | $schema | getpath($path) else . end;
# Which values a field takes.
def kind: resolved
    | if has("enum") then "one of " + ([.enum[] | bold] | join(", "))
      elif has("anyOf") then [.anyOf[] | kind] | join(" or ")
      elif .type == "array" then "a list: " + (.items | kind)
      elif (.type | type) == "array" then .type | join(" or ")
      elif .type == "object" then "an object" else .type end;
def fields($required): to_entries[] | select(.key != "ref" and (.key != "type" or (.value | has("const") | not)))
    | (.value | resolved) as $field | .key as $key
    | (if $required | index($key) then "" else ", optional" end) as $optional
    | ".TP\n.B \($key | escaped)",
      "(\(.value | kind)\($optional))\((.value.description // $field.description) | sentence)",
      # The fields of the objects in a list.
      (if $field.type == "array" then $field.items | resolved
          | select(.type == "object") | .required as $inner
          | ".RS", (.properties | fields($inner // [])), ".RE" else empty end);
def part($name): ".SS \($name | escaped)", (.description | sentence | ltrimstr(" ")),
    ((.required // []) as $required | .properties // {} | fields($required));

".SH COMMANDS",
"Each is a line of input.",
(.["$defs"].command.oneOf[] | part(.properties.type.const)),
".SH EVENTS",
"Each is a line of output.",
(.["$defs"].event.allOf[] | .if.properties.type.const as $name | .then | part($name))
