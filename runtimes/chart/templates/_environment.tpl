{{/*
The chart's variables and people's, which win: the API server refuses a list that has one name twice.
Takes a list, and a map or a list of EnvVar.
*/}}
{{- define "runtime.env" -}}
{{- $extra := .extra | default list }}
{{- if kindIs "map" $extra }}
{{- $extra = list }}
{{- range $name, $value := .extra }}
{{- $extra = append $extra (dict "name" $name "value" ($value | toString)) }}
{{- end }}
{{- end }}
{{- $taken := list }}
{{- range $extra }}
{{- $taken = append $taken .name }}
{{- end }}
{{- $env := list }}
{{- range .own }}
{{- if not (has .name $taken) }}
{{- $env = append $env . }}
{{- end }}
{{- end }}
{{- concat $env $extra | toYaml }}
{{- end }}

{{/* Seconds from the request to stop to the end of a pod: drain, finish, and a minute to give back the rest. */}}
{{- define "runtime.graceSeconds" -}}
{{ add .Values.runtime.queueAgent.drainSeconds .Values.runtime.queueAgent.finishSeconds 60 }}
{{- end }}

{{/* Where traces go: xray, otlp or none. */}}
{{- define "runtime.tracing" -}}
{{- if .Values.runtime.queueAgent.otlpEndpoint }}otlp{{ else if .Values.runtime.queueAgent.xray.enabled }}xray{{ else }}none{{ end }}
{{- end }}
