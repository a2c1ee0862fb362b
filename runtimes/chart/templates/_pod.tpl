{{- define "runtime.pod" -}}
serviceAccountName: {{ include "runtime.serviceAccountName" . }}
# The agent's container alone has a token.
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "runtime.graceSeconds" . }}
securityContext:
  {{- mergeOverwrite (dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault")) (deepCopy .Values.runtime.podSecurityContext) | toYaml | nindent 2 }}
nodeSelector:
  karpenter.sh/nodepool: {{ include "runtime.nodePool" . }}
tolerations:
  - {key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}
  - {key: runtime, operator: Equal, value: {{ include "runtime.nodePool" . }}, effect: NoSchedule}
  {{- range .Values.karpenter.provisioner.extraTaints }}
  - {key: {{ .key | quote }}, operator: Equal, value: {{ .value | default "" | quote }}, effect: {{ .effect }}}
  {{- end }}
initContainers:
  {{- if eq (include "runtime.tracing" .) "xray" }}
  - {{ include "runtime.xrayDaemon" . | nindent 4 | trim }}
  {{- end }}
  - {{ include "runtime.inferenceApi" . | nindent 4 | trim }}
containers:
  - {{ include "runtime.queueAgent" . | nindent 4 | trim }}
volumes:
  - name: scratch
    emptyDir: {}
  {{- if eq .Values.runtime.type "sdwebui" }}
  - name: sdwebui
    configMap: {name: {{ include "runtime.name" . }}-sdwebui}
  {{- end }}
  {{- if ne (include "runtime.models" .) "none" }}
  - name: models
    persistentVolumeClaim: {claimName: {{ include "runtime.modelsClaim" . }}, readOnly: true}
  {{- end }}
  # What a token mounted by Kubernetes consists of.
  - name: kubernetes
    projected:
      sources:
        - serviceAccountToken: {path: token, expirationSeconds: 3607}
        - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
        - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "runtime.podAnnotations" -}}
kubectl.kubernetes.io/default-container: queue-agent
# What people put into the inference server has no use for the agent's role in AWS.
eks.amazonaws.com/skip-containers: inference-api
{{- if eq .Values.runtime.type "sdwebui" }}
checksum/sdwebui: {{ include (print .Template.BasePath "/configmap-sdwebui.yaml") . | sha256sum }}
{{- end }}
{{- end }}
