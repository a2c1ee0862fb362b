{{/*
Where the models are: claim (of people's own), volume (of theirs), class (a claim for a volume to be made),
efs, s3, or none, when the server has what its image has.
*/}}
{{- define "runtime.models" -}}
{{- with .Values.runtime.persistence }}
{{- if not .enabled }}none
{{- else if .existingClaim }}claim
{{- else if .existingVolume }}volume
{{- else if .efs.fileSystemId }}efs
{{- else if and .storageClass (ne .storageClass "-") }}class
{{- else if and .s3.enabled .s3.modelBucket }}s3
{{- else if .storageClass }}volume
{{- else }}none
{{- end }}
{{- end }}
{{- end }}

{{/*
Name of the claim, and of the volume where the chart makes one. What a volume is of cannot be changed, so another bucket
is another volume with another claim, which pods are rolled over to. Data of a storage class stays under one name.
*/}}
{{- define "runtime.modelsClaim" -}}
{{- $models := include "runtime.models" . }}
{{- $name := printf "%s-models" (include "runtime.name" .) }}
{{- with .Values.runtime.persistence }}
{{- if eq $models "claim" }}{{ .existingClaim }}
{{- else if eq $models "class" }}{{ $name }}
{{- else if eq $models "volume" }}{{ printf "%s-%s" $name (.existingVolume | sha256sum | trunc 8) }}
{{- else }}{{ printf "%s-%s" $name (pick . "s3" "efs" "accessModes" "size" | toJson | sha256sum | trunc 8) }}
{{- end }}
{{- end }}
{{- end }}
