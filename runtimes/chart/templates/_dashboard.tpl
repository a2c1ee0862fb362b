{{/* A Grafana dashboard, two panels in a row, of the panels in files/dashboard.yaml. */}}
{{- define "runtime.dashboard" -}}
{{- $selector := printf "namespace=%q, runtime=%q" .Release.Namespace (include "runtime.name" .) }}
title: Darkroom runtime {{ include "runtime.name" . }}
uid: darkroom-{{ include "runtime.name" . | sha256sum | trunc 16 }}
schemaVersion: 39
refresh: 30s
time: {from: now-3h, to: now}
templating:
  list: [{name: datasource, type: datasource, query: prometheus}]
panels:
  {{- range $index, $panel := .Files.Get "files/dashboard.yaml" | fromYamlArray }}
  - id: {{ add1 $index }}
    type: timeseries
    title: {{ $panel.title }}
    datasource: {type: prometheus, uid: $datasource}
    gridPos: {h: 8, w: 12, x: {{ mul 12 (mod $index 2) }}, "y": {{ mul 8 (div $index 2) }}}
    fieldConfig: {defaults: {unit: {{ $panel.unit }}, min: 0}, overrides: []}
    targets:
      {{- range $legend, $query := $panel.queries }}
      - expr: {{ $query | replace "$runtime" $selector | quote }}
        legendFormat: {{ $legend | quote }}
        refId: {{ $legend | sha256sum | trunc 8 | quote }}
      {{- end }}
  {{- end }}
{{- end }}
